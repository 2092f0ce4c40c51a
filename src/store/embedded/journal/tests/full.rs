//! A segment that is full gives back what it does not use.

use super::*;

#[test]
fn a_full_segment_is_cut_to_its_end_only_when_something_is_written_into_the_next_one() {
    let temp = tempfile::tempdir().expect("temp");
    let mut journal = Journal::open(temp.path(), options(), 0, NOW).expect("opens");
    let length = || fs::metadata(temp.path().join("0000000001.seg")).expect("there").len();
    let mut group = FrameGroup::default();
    push(&mut group, &[noise(0, 1500)]);
    journal.append(&mut group, NOW).expect("appends");
    let (begun, end) = (length(), journal.end());
    push(&mut group, &[noise(1, 1500)]);
    let later = NOW + Duration::from_secs(300);
    journal.begin_if_due(&group, later).expect("begins");
    assert_eq!((journal.end().segment, length()), (2, begun), "nobody has noted its end yet");
    journal.append(&mut group, later).expect("appends");
    assert_eq!(length(), u64::from(end.offset));
}
