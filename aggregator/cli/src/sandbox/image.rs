//! Container images made of one static busybox, in the format of `docker save`.
//!
//! Owns the archive format (OCI image specification, "docker-archive"). Must not know the runtime that imports it.

use std::io::{self, Write};

use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// Names under which busybox is callable in every image.
const APPLETS: [&str; 22] = [
    "sh", "cat", "chmod", "cp", "date", "dd", "echo", "env", "false", "head", "id", "kill", "ls", "mkdir", "mv",
    "printf", "ps", "rm", "sleep", "tail", "test", "true",
];

/// Empty folders that runtimes mount over.
const FOLDERS: [&str; 6] = ["bin/", "dev/", "etc/", "proc/", "sys/", "tmp/"];

/// An image to build.
#[derive(Debug, Clone, Copy)]
pub(super) struct ImageSpec<'a> {
    /// Full name with a tag.
    pub(super) name: &'a str,
    /// What runs unless the container says otherwise.
    pub(super) entrypoint: &'a [&'a str],
}

/// Writes an archive with the given images, which all share one layer.
///
/// # Errors
/// Only those of `out`.
pub(super) fn write_archive(busybox: &[u8], images: &[ImageSpec<'_>], out: impl Write) -> io::Result<()> {
    let layer = layer(busybox)?;
    let diff_id = hex_sha256(&layer);
    let layer_path = format!("{diff_id}/layer.tar");
    let mut archive = Builder::new(out);
    append_file(&mut archive, &layer_path, 0o644, &layer)?;
    let mut manifest = Vec::new();
    for image in images {
        let config = config(image, &diff_id).to_string();
        let config_path = format!("{}.json", hex_sha256(config.as_bytes()));
        append_file(&mut archive, &config_path, 0o644, config.as_bytes())?;
        manifest.push(json!({"Config": config_path, "RepoTags": [image.name], "Layers": [layer_path]}));
    }
    append_file(
        &mut archive,
        "manifest.json",
        0o644,
        json!(manifest).to_string().as_bytes(),
    )?;
    archive.into_inner()?.flush()
}

fn layer(busybox: &[u8]) -> io::Result<Vec<u8>> {
    let mut layer = Builder::new(Vec::new());
    for folder in FOLDERS {
        let mode = if folder == "tmp/" { 0o1777 } else { 0o755 };
        let mut header = header(EntryType::Directory, mode, 0);
        layer.append_data(&mut header, folder, io::empty())?;
    }
    append_file(&mut layer, "bin/busybox", 0o755, busybox)?;
    for applet in APPLETS {
        let mut header = header(EntryType::Symlink, 0o777, 0);
        layer.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    layer.into_inner()
}

fn config(image: &ImageSpec<'_>, diff_id: &str) -> serde_json::Value {
    json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "Entrypoint": image.entrypoint,
            "Env": ["PATH=/bin"],
            // keeps the ids of images with the same content apart
            "Labels": {"org.opencontainers.image.ref.name": image.name},
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{diff_id}")]},
    })
}

/// The name that image indexes use (Go's `GOARCH`).
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

fn append_file<W: Write>(archive: &mut Builder<W>, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
    let size = u64::try_from(content.len()).map_err(io::Error::other)?;
    archive.append_data(&mut header(EntryType::Regular, mode, size), path, content)
}

/// Owner, group and time are zero, so that the same busybox always gives the same image id.
fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn hex_sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use super::*;

    fn entries(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(bytes);
        let read = |entry: io::Result<tar::Entry<'_, &[u8]>>| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (entry.path().unwrap().display().to_string(), content)
        };
        archive.entries().unwrap().map(read).collect()
    }

    fn archive() -> Vec<u8> {
        let images = [
            ImageSpec {
                name: "img.local/a:1",
                entrypoint: &["/bin/sh"],
            },
            ImageSpec {
                name: "img.local/b:2",
                entrypoint: &["/bin/sleep", "9"],
            },
        ];
        let mut out = Vec::new();
        write_archive(b"\x7fELF", &images, &mut out).unwrap();
        out
    }

    #[test]
    fn every_name_in_the_manifest_points_to_a_file_with_that_content() {
        let files = entries(&archive());
        let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], "img.local/a:1");
        assert_eq!(manifest[1]["RepoTags"][0], "img.local/b:2");
        assert_ne!(manifest[0]["Config"], manifest[1]["Config"]);
        for image in manifest.as_array().unwrap() {
            let config: serde_json::Value = serde_json::from_slice(&files[image["Config"].as_str().unwrap()]).unwrap();
            let layer = &files[image["Layers"][0].as_str().unwrap()];
            assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", hex_sha256(layer)));
        }
    }

    #[test]
    fn the_same_busybox_gives_the_same_archive_each_time() {
        assert_eq!(archive(), archive());
    }

    #[test]
    fn the_layer_has_busybox_and_a_shell() {
        let bytes = layer(b"\x7fELF").unwrap();
        let files = entries(&bytes);
        assert_eq!(files["bin/busybox"], b"\x7fELF");
        assert!(files.contains_key("bin/sh") && files.contains_key("bin/tail"));
    }
}
