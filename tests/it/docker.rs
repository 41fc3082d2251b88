//! Against a private dockerd with real containers.
