# shellcheck shell=bash
# A proxy that damages TCP connections, for the suite `faults`.

TOXIPROXY_VERSION=v2.12.0

# Its command is called `server`, so it gets a folder of its own.
make_toxiproxy() {
  make_go_program toxiproxy "$TOXIPROXY_VERSION" github.com/Shopify/toxiproxy/v2/cmd/server "$target/tools/toxiproxy" server
}
