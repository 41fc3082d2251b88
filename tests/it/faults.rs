//! Kills at failpoints, full disks, cut networks, receivers that misbehave: nothing acknowledged is lost.

mod failpoints;
