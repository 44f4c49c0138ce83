use portcullis::layers::{Connection, track::Tracked};
use tokio::io::Empty;

fn leaf<C: Connection>(_: C) {}

fn serve(stream: Tracked<Empty>, bare: Empty) {
    leaf(bare);
    leaf(stream);
}

fn main() {}
