//! Frames and batches as they cross the network.

use super::{Path, RECORDS, batch, build, placed};
use ringmq_wire::batch::{BatchBuilder, BatchView};
use ringmq_wire::codes::Kind;
use ringmq_wire::native::{self, Decoded, schema};
use std::hint::black_box;

pub(super) fn paths() -> Vec<Path> {
    let request = schema::ProduceRequestT {
        topic: "orders".to_owned(),
        queue: 3,
        ..Default::default()
    };
    let frame = native::encode(Kind::Produce, 0, 7, 0, |b| request.pack(b));
    let sent = batch();
    let stored = placed(1, 0);
    vec![
        Path::new("build a batch", || {
            black_box(build(&mut BatchBuilder::new()));
        }),
        Path::new("decode a frame header", move || {
            let decoded = native::decode(black_box(&frame));
            let Ok(Decoded::Ready(prefix)) = decoded else {
                panic!("it was just encoded");
            };
            let request =
                native::header::<schema::ProduceRequest<'_>>(&frame[prefix.header_range()]);
            assert_eq!(request.expect("it was just encoded").queue(), 3);
        }),
        Path::new("check a batch", move || {
            let view = BatchView::parse(black_box(&sent)).expect("it was just built");
            black_box(view.header().record_count);
        }),
        Path::new("read the records of a batch", move || {
            let view = BatchView::parse_unverified(black_box(&stored)).expect("it was just built");
            let section = view.section().expect("it is not compressed");
            let records = view
                .records(&section)
                .map(|record| record.expect("it was just built"));
            assert_eq!(
                records.filter(|record| !record.body.is_empty()).count(),
                RECORDS
            );
        }),
    ]
}
