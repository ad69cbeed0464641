//! Puts the checksums of edited files right, so that what lies behind them is reached.

/// `before` tells where frames, pages and slots were.
pub fn reseal(name: &str, bytes: &mut [u8], before: &[u8]) {
    match name.rsplit('.').next() {
        Some("seg") => frames(bytes, before),
        Some("idx") => pages(bytes),
        Some("copy") => copy_of_tail(bytes, before),
        Some("meta") => {
            for slot in bytes.chunks_exact_mut(4096) {
                if slot.iter().any(|byte| *byte != 0) {
                    let sum = crc32fast::hash(&slot[..4092]);
                    slot[4092..].copy_from_slice(&sum.to_le_bytes());
                }
            }
        }
        _ => {}
    }
}

fn frames(bytes: &mut [u8], before: &[u8]) {
    for at in (0..bytes.len()).step_by(4096) {
        if before[at..at + 4] != *b"RQF1" {
            continue;
        }
        let body = u32::from_le_bytes(*bytes[at + 32..].first_chunk().expect("a header"));
        let end = (at + 128).saturating_add(body as usize).min(bytes.len());
        let sum = crc32fast::hash(&bytes[at + 128..end]);
        let header = &mut bytes[at..at + 128];
        header[60..64].copy_from_slice(&sum.to_le_bytes());
        let sum = crc32fast::hash(&header[..72]);
        header[72..76].copy_from_slice(&sum.to_le_bytes());
        let local = [&header[72..76], &header[80..120]].concat();
        header[76..80].copy_from_slice(&crc32fast::hash(&local).to_le_bytes());
    }
}

/// As far as it has the bytes that its header claims.
fn copy_of_tail(bytes: &mut [u8], before: &[u8]) {
    let (header, body) = bytes.split_at_mut(4096);
    frames(body, &before[4096..]);
    let len = u64::from_le_bytes(*header[32..].first_chunk().expect("a header"));
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(body.len());
    header[40..44].copy_from_slice(&crc32fast::hash(&body[..len]).to_le_bytes());
    let sum = crc32fast::hash(&header[..4092]);
    header[4092..].copy_from_slice(&sum.to_le_bytes());
}

fn pages(bytes: &mut [u8]) {
    let identity: [u8; 24] = *bytes[24..].first_chunk().expect("a page");
    for (number, page) in bytes.chunks_exact_mut(4096).enumerate() {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(if number == 0 { &[0; 24] } else { &identity });
        hasher.update(&page[4..]);
        page[..4].copy_from_slice(&hasher.finalize().to_le_bytes());
    }
}
