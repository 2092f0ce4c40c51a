//! Heads as endpoints send them, sound and broken, whole and in pieces.

use proptest::prelude::*;

use super::*;

pub(super) const OK: &str = "HTTP/1.1 200 OK\r\n";

/// A head of these lines below a status line.
pub(super) fn head(lines: &[&str]) -> Vec<u8> {
    let mut text = OK.to_owned();
    lines.iter().for_each(|line| text.extend([line, "\r\n"]));
    (text + "\r\n").into_bytes()
}

fn mended(text: impl Into<Vec<u8>>) -> Head {
    mend(text.into(), false, &[]).expect("it can be read")
}

fn text(head: &Head) -> &str {
    std::str::from_utf8(&head.bytes).expect("text")
}

#[test]
fn a_sound_head_stays_as_it_came() {
    for sound in [
        head(&[]),
        head(&["content-length: 5", "x:y", "empty:", "odd: \u{e9}\t;"]),
        head(&["Transfer-Encoding: gzip, chunked"]),
        head(&["content-length: 5", "content-length: 5, 5"]),
        b"HTTP/1.0 404\r\n\r\n".to_vec(),
        b"\r\n\nHTTP/1.1 200 OK\nx: y\n\n".to_vec(),
        // Not for this room to judge.
        b"HTTP/1.1 2000 OK\r\n\r\n".to_vec(),
    ] {
        let wanted = Head { bytes: sound.clone(), mended: Mended::default(), is_interim: false };
        assert_eq!(mend(sound, false, &[]), Ok(wanted));
    }
}

#[test]
fn what_is_certain_is_mended_and_the_rest_is_left_out() {
    for (lines, left) in [
        (&["x: one", " two", "\tthree"][..], "x: one two three\r\n"),
        (&["x:", "  two"], "x: two\r\n"),
        (&["x : y"], "x: y\r\n"),
        (&["x\t: y"], "x: y\r\n"),
        (&["  folded: into nothing", "a: b"], "a: b\r\n"),
        (&["a b: c", "a: b"], "a: b\r\n"),
        (&["no colon", "a: b"], "a: b\r\n"),
        (&[": no name", "a: b"], "a: b\r\n"),
        (&["x: a\0b", "a: b"], "a: b\r\n"),
        (&["x: a\rb", "a: b"], "a: b\r\n"),
        (&["x: a\u{7f}", "a: b"], "a: b\r\n"),
        (&["x\u{1}: y", "a: b"], "a: b\r\n"),
        // What is folded into a line that is left out goes with it.
        (&["x: \u{1}", " more", "a: b"], "a: b\r\n"),
    ] {
        let made = mended(head(lines));
        assert_eq!(text(&made), format!("{OK}{left}connection: close\r\n\r\n"), "{lines:?}");
        assert!(made.mended.broken > 0 && made.mended.closes(), "{lines:?}");
    }
    let reason = mended("HTTP/1.1 200 O\u{1}K\r\na: b\r\n\r\n");
    assert_eq!(text(&reason), "HTTP/1.1 200\r\na: b\r\nconnection: close\r\n\r\n");
}

#[test]
fn of_many_lines_the_first_hundred_are_read_and_cookies_go_first() {
    let lines: Vec<&str> = ["set-cookie: a=b"; 101].into_iter().chain(["retry-after: 5"]).collect();
    let many = mended(head(&lines));
    assert_eq!(text(&many), format!("{OK}retry-after: 5\r\n\r\n"));
    assert_eq!(many.mended, Mended { surplus: 101, ..Mended::default() });
    assert!(!many.mended.closes(), "it keeps the grammar");
    let within = mended(head(&["set-cookie: a=b"; 100]));
    assert_eq!(within.mended, Mended::default());
    let others = mended(head(&["x: y"; 150]));
    assert_eq!((others.mended.surplus, text(&others).lines().count()), (50, 102));
}

#[test]
fn of_many_lines_those_that_decide_are_kept_wherever_they_stand() {
    let last = [
        "X-RateLimit-Remaining: 0",
        "ratelimit-reset: 30",
        "RateLimit: \"a\";r=0;t=30",
        "x-rate-limit-reset: 30",
        "Retry-After: 5",
        "date: Sun, 06 Nov 1994 08:49:37 GMT",
        "content-type: application/json",
        "connection: close",
        "x-busy: yes",
        "Content-Length: 5",
    ];
    for filler in ["x: y", "set-cookie: a=b", "x-ratelimit-limit: 9"] {
        let lines: Vec<&str> = [filler; 150].into_iter().chain(last).collect();
        let many = mend(head(&lines), false, &["x-busy"]).expect("it can be read");
        assert!(many.mended.surplus > 0 && !many.mended.closes(), "{filler}");
        assert!(text(&many).contains("Content-Length: 5\r\n"), "{filler}");
        // Where too many lines say of limits, nothing tells them apart.
        let kept = text(&many).ends_with(&(last.join("\r\n") + "\r\n\r\n"));
        assert_eq!(kept, !filler.contains("ratelimit"), "{filler}");
    }
    let lines: Vec<&str> = ["x: y"; 150].into_iter().chain(last).collect();
    assert!(!text(&mended(head(&lines))).contains("x-busy"), "the control: nobody hears it");
    // Lines that are mended are kept like sound ones; the connection ends with the answer then, by a line of its own.
    let lines: Vec<&str> = ["x: y"; 150].into_iter().chain(["retry-after : 5"]).collect();
    let odd = mended(head(&lines));
    assert!(text(&odd).ends_with("retry-after: 5\r\nconnection: close\r\n\r\n"), "{}", text(&odd));
    assert_eq!(text(&odd).lines().count(), 102);
}

#[test]
fn where_not_all_of_the_framing_finds_room_the_connection_ends() {
    let full = mended(head(&[["content-length: 5"; 100].as_slice(), &["x: y"]].concat()));
    assert_eq!(full.mended, Mended { surplus: 1, ..Mended::default() }, "the control: it does");
    let cut = mended(head(&["content-length: 5"; 101]));
    assert!(cut.mended.closes() && cut.mended.surplus == 2, "{:?}", cut.mended);
    assert!(text(&cut).ends_with("content-length: 5\r\nconnection: close\r\n\r\n"));
    assert_eq!(text(&cut).lines().count(), 102);
}

#[test]
fn a_framing_that_is_broken_cannot_be_read() {
    for lines in [
        &["content-length: x"][..],
        &["content-length: -1"],
        &["content-length: +1"],
        &["content-length:"],
        &["content-length: 5, 6"],
        &["content-length: 5", "Content-Length: 6"],
        &["content-length: 99999999999999999999"],
        &["content-length : 5"],
        &["content-length: 5", " 6"],
        &["content-length: 5\u{1}"],
        &["content\u{1}-length: 5"],
        &["content -length: 5"],
        &["transfer-encoding : chunked"],
        &["transfer-encoding: chunked", "\tx"],
        &["transfer-encoding: chun\0ked"],
        &["\u{b}transfer-encoding: chunked"],
        &["transfer-encoding:"],
    ] {
        assert_eq!(mend(head(lines), false, &[]), Err(HeadError::Framing), "{lines:?}");
        let mut bodiless = b"HTTP/1.1 204 No Content\r\n".to_vec();
        bodiless.extend(&head(lines)[OK.len()..]);
        let bodiless = mended(bodiless);
        assert!(
            bodiless.mended.closes(),
            "{lines:?}: nothing depends on it, and nothing is trusted after it"
        );
    }
    let twice = mended(head(&["content-length: 5", "transfer-encoding: chunked"]));
    assert!(twice.mended.closes() && text(&twice).contains("transfer-encoding: chunked\r\n"));
}

#[test]
fn an_informational_head_is_followed_by_another_whose_connection_it_may_end() {
    let hints = mended("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
    assert!(hints.is_interim && hints.mended == Mended::default());
    let switching = mended("HTTP/1.1 101 Switching Protocols\r\n\r\n");
    assert!(!switching.is_interim);
}

/// Lines of every kind, the sound ones among them.
fn any_line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-z-]{1,8}: [ -~]{0,8}".prop_map(String::into_bytes),
        "[ \t]?[a-z]{0,4}[ \t\u{1}]?:?[ -~]{0,4}[\u{1}\r\u{7f}]?[a-z]{0,3}".prop_map(String::into_bytes),
        "(content-length|transfer-encoding)[ ]?: ?(5|chunked|x)".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>().prop_filter("no end of a line", |byte| *byte != b'\n'), 0..12),
    ]
    .prop_filter("the empty line ends a head", |line: &Vec<u8>| !matches!(&line[..], b"" | b"\r"))
}

pub(super) fn any_head() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec((any_line(), any::<bool>()), 0..12).prop_map(|lines| {
        let mut head = OK.as_bytes().to_vec();
        for (line, has_cr) in lines {
            head.extend(line);
            head.extend_from_slice(if has_cr { b"\r\n" } else { b"\n" });
        }
        head.extend_from_slice(b"\r\n");
        head
    })
}

/// The lines of a head that say how long its answer is, in small letters without blanks.
fn framing_lines(head: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let lines = text.lines().filter(|line| !line.starts_with([' ', '\t']));
    let lines = lines.map(|line| line.replace([' ', '\t'], ""));
    lines
        .filter(|line| line.starts_with("content-length:") || line.starts_with("transfer-encoding:"))
        .collect()
}

proptest! {
    #[test]
    fn what_is_handed_on_is_sound_and_framed_as_it_came(came in any_head()) {
        prop_assert_eq!(end(&came, 0), Some(came.len()));
        if let Ok(head) = mend(came.clone(), false, &[]) {
            let again = mended(head.bytes.clone());
            let is_sound = Mended { is_framed_twice: false, ..again.mended } == Mended::default();
            prop_assert!(is_sound, "{:?}", text(&again));
            prop_assert_eq!(framing_lines(&head.bytes), framing_lines(&came));
            if head.mended == Mended::default() {
                prop_assert_eq!(head.bytes, came);
            }
        }
    }
}
