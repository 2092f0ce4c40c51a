//! Torn ends, flipped bits, lost heads, other formats; the form of the file, byte by byte.

use super::*;

fn three() -> [Usage; 3] {
    [usage("a", 1, 1_500, 9_000), usage("b", 2, 1_501, 9_001), usage("c", 3, 1_502, 9_002)]
}

/// A record that was taken up and got three usages in writes of their own.
async fn three_writes() -> Embedded {
    let subject = Embedded::new();
    subject.open().await;
    for one in three() {
        subject.record(&[one]).await;
    }
    subject
}

fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').collect()
}

#[tokio::test]
async fn format_1_is_this_text_for_ever() {
    let mut subject = Embedded::new();
    subject.open().await;
    subject.record(&[usage("a", 1, 1_500, 9_000), usage("b \"x\"", 2, 1_501, 9_001)]).await;
    let text = "2b504191 {\"format\":1,\"from\":0,\"marked\":true}\n\
                2f601754 {\"m\":\"opened\"}\n\
                884748e0 {\"l\":\"a\",\"n\":1,\"t\":1500,\"x\":9000}\n\
                5ce02017 {\"l\":\"b \\\"x\\\"\",\"n\":2,\"t\":1501,\"x\":9001,\"c\":true}\n";
    assert_eq!(String::from_utf8_lossy(&subject.bytes()), text);
    let closed = "303c0316 {\"format\":1,\"from\":0}\n\
                  884748e0 {\"l\":\"a\",\"n\":1,\"t\":1500,\"x\":9000}\n\
                  124b5045 {\"m\":\"closed\"}\n";
    subject.crash_with(closed.as_bytes());
    assert_eq!(subject.open().await, orderly(&[usage("a", 1, 1_500, 9_000)]));
}

#[tokio::test]
async fn a_torn_end_at_any_byte_is_cut_and_the_rest_stays() {
    let mut subject = three_writes().await;
    let whole = subject.bytes();
    let last = lines(&whole).last().map_or(0, |line| line.len());
    for cut in 1..=last {
        subject.crash_with(&whole[..whole.len() - cut]);
        assert_eq!(subject.open().await, disorderly(&three()[..2]), "{cut} bytes short");
        subject.record(&three()[2..]).await;
        subject.crash();
        assert_eq!(subject.open().await, disorderly(&three()), "goes on after the cut");
    }
    subject.crash_with(&[&whole[..], &[0; 100]].concat());
    assert_eq!(subject.open().await, disorderly(&three()), "zeros where a write was to go");
    subject.crash_with(&whole);
    assert_eq!(subject.open().await, disorderly(&three()), "the control: whole");
}

#[tokio::test]
async fn a_torn_write_of_several_lines_is_not_damage() {
    let mut subject = Embedded::new();
    subject.open().await;
    subject.record(&three()).await;
    let one_write = subject.bytes();
    let three_writes = three_writes().await.bytes();
    for (whole, damaged) in [(one_write, 0), (three_writes, 1)] {
        let mut torn = whole.clone();
        let start: usize = lines(&whole)[..3].iter().map(|line| line.len()).sum();
        torn[start..start + 20].fill(0);
        subject.crash_with(&torn);
        let found = subject.open().await;
        assert_eq!((found.damaged, found.orderly), (damaged, false));
        assert_eq!(found.usages, [three()[0].clone(), three()[2].clone()], "what reads counts");
    }
}

#[tokio::test]
async fn a_flipped_bit_anywhere_is_never_taken_for_an_orderly_end() {
    let mut subject = three_writes().await;
    subject.log.close(subject.log.owner(), three().to_vec()).await.expect("closes");
    let whole = unmarked(&subject.bytes());
    let last = whole.len() - lines(&whole).last().map_or(0, |line| line.len());
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        subject.crash_with(&flipped);
        let found = subject.open().await;
        assert!(!found.orderly, "byte {at}");
        let told = found.damaged > 0 && found.complete_from == NOW;
        assert!(told || (at >= last - 1 && found.usages.len() >= 2), "byte {at}: {found:?}");
        assert!(found.usages.iter().all(|usage| three().contains(usage)), "byte {at}");
    }
    subject.crash_with(&whole);
    assert_eq!(subject.open().await, orderly(&three()), "the control: unharmed");
}

#[tokio::test]
async fn a_bad_line_is_counted_set_aside_and_remembered() {
    let mut subject = three_writes().await;
    for number in 1..=2 {
        let mut bytes = subject.bytes();
        let at: usize = lines(&bytes)[..2].iter().map(|line| line.len()).sum();
        bytes[at + 12] ^= 0x80;
        let bad = lines(&bytes)[2].to_vec();
        subject.crash_with(&bytes);
        let found = subject.open().await;
        assert_eq!((found.damaged, found.orderly, found.complete_from), (1, false, NOW));
        assert_eq!(found.usages.len(), 2);
        let copy = subject.dir.path().join(format!("usage.damaged-{number}"));
        assert_eq!(fs::read(copy).expect("there"), bad);
        subject.record(&[usage("z", 1, 1_500, 9_000)]).await;
        subject.record(&[usage("z", 1, 1_500, 9_000)]).await;
        subject.crash();
        let found = subject.log.open(ms(2_000)).await.expect("opens");
        assert_eq!((found.damaged, found.orderly, found.complete_from), (0, false, NOW), "told once");
    }
}

#[tokio::test]
async fn without_a_head_the_record_is_damaged() {
    let mut subject = three_writes().await;
    let whole = subject.bytes();
    let head = lines(&whole)[0].len();
    for (bytes, usages) in
        [(&whole[..0], &[][..]), (&whole[..head - 1], &[]), (&[0; 9], &[]), (&whole[head..], &three())]
    {
        subject.crash_with(bytes);
        let found = UsageFound { damaged: 1, complete_from: NOW, ..disorderly(usages) };
        assert_eq!(subject.open().await, found);
    }
}

#[tokio::test]
async fn another_format_is_refused_and_left_as_it_is() {
    let mut subject = three_writes().await;
    for found in [0_u32, 2] {
        let json = format!("{{\"format\":{found},\"whatever\":[1]}}");
        let text = format!("{:08x} {json}\nother lines\n", crc32c::crc32c(json.as_bytes()));
        subject.crash_with(text.as_bytes());
        let refused = subject.log.open(NOW).await;
        assert!(matches!(refused, Err(StoreError::Format { found: told, known: 1, .. }) if told == found));
        assert_eq!(subject.bytes(), text.as_bytes());
        assert!(matches!(
            subject.log.record(subject.log.owner(), three().to_vec()).await,
            Err(StoreError::Closed)
        ));
        assert_eq!(subject.bytes(), text.as_bytes());
    }
    let json = "{\"format\":1,\"whatever\":[1]}";
    let text = format!("{:08x} {json}\n2f601754 {{\"m\":\"opened\"}}\n", crc32c::crc32c(json.as_bytes()));
    subject.crash_with(text.as_bytes());
    assert_eq!(subject.open().await, disorderly(&[]), "the control: a later member in this format");
}
