# shellcheck shell=bash
# A gRPC client that shares no code with us, for the suite `foreign`.

GRPCURL_VERSION=v1.9.3

make_grpcurl() {
  make_go_program grpcurl "$GRPCURL_VERSION" github.com/fullstorydev/grpcurl/cmd/grpcurl "$target/tools/bin" grpcurl
}
