//! What planning costs: pure plans of many guests, and whole looks at a simulated cluster in which nothing differs.

#[path = "../tests/it/world.rs"]
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod world;

#[path = "../tests/it/fleet.rs"]
mod fleet;

use criterion::{Criterion, criterion_group, criterion_main};
use pvectl::engine::observe::observe;
use pvectl::engine::reconcile::Cluster;
use pvectl::kinds::list::KINDS;
use pvectl::plan::assemble::plan;
use pvectl::secret_files::Folder;
use std::hint::black_box;
use std::time::Duration;

fn pure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    for guests in [1_000, 10_000, 100_000] {
        let (lab, set) = fleet::fleet(4, guests);
        let (api, clock) = (lab.sim.api(), lab.sim.clock());
        let names = lab.sim.names();
        let cluster = Cluster { api: &api, clock: &clock, kinds: &KINDS, names: &names, files: &Folder::new("") };
        let seen = world::run(observe(&cluster, &set, &world::plain())).expect("the cluster can be read");
        group.bench_function(format!("{guests} guests"), |b| {
            b.iter(|| black_box(plan(&set, &seen, &KINDS, &world::plain())))
        });
    }
    group.finish();
}

fn look(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("diff without a change");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    for guests in [1_000, 10_000] {
        let (lab, set) = fleet::fleet(4, guests);
        group.bench_function(format!("{guests} guests"), |b| b.iter(|| black_box(lab.preview(&set, &world::plain()))));
    }
    group.finish();
}

criterion_group!(benches, pure, look);
criterion_main!(benches);
