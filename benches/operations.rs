//! The time of one operation on one connection, through bare tokio and through the whole stack: a new connection, a round
//! trip, 64 KiB there and back, a TLS handshake.
//!
//! For a comparison of the two, `cargo bench -p portcullis-benches --bench ratios` is the better witness: here one follows the other, on a machine
//! that may have changed meanwhile.

mod rig;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use portcullis::layers::BoxError;

use rig::{Server, Stack, Tls, Work};

fn operations(criterion: &mut Criterion) {
    if let Err(error) = run(criterion) {
        panic!("operations: {error}");
    }
}

fn run(criterion: &mut Criterion) -> Result<(), BoxError> {
    let tls = Tls::new()?;
    for work in Work::ALL {
        let mut group = criterion.benchmark_group(work.name());
        for stack in [Stack::Bare, Stack::Full] {
            let server = Server::start(stack, work.is_tls().then_some(&tls.layer))?;
            let mut client = work.client(server.address, &tls.client, 1)?;
            let once = client.turn()?;
            group.throughput(match work.unit() {
                "bytes" => Throughput::Bytes(once),
                _ => Throughput::Elements(once),
            });
            // An error would be one of the servers'.
            group.bench_function(stack.name(), |bencher| {
                bencher.iter(|| black_box(client.turn().expect("an echo")));
            });
        }
        group.finish();
    }
    Ok(())
}

criterion_group!(benches, operations);
criterion_main!(benches);
