use proptest::prelude::*;

use super::*;

const TEXT: &str = r#"# HELP bytes_total Bytes.
# TYPE bytes_total counter
bytes_total{direction="read",listener="echo"} 18446744073709551615
bytes_total{direction="written",listener="echo"} 9007199254740993

# TYPE connections_active gauge
connections_active{listener="echo"} 2

# TYPE draining gauge
draining 1

# TYPE duration_seconds histogram
duration_seconds_bucket{listener="echo",le="0.25"} 1
duration_seconds_bucket{listener="echo",le="+Inf"} 2
duration_seconds_sum{listener="echo"} 3.25
duration_seconds_count{listener="echo"} 2

# TYPE quantiles summary
quantiles{quantile="0.5"} 7
quantiles_sum 7
quantiles_count 1

"#;

fn read(text: &str) -> Families {
    Families::read(text)
}

#[test]
fn a_text_comes_out_as_it_went_in() {
    assert_eq!(read(TEXT).to_string(), TEXT);
}

#[test]
fn counters_and_histograms_add_up_exactly_and_gauges_do_not() {
    let mut sum = read(TEXT);
    sum.add(&read(
        r#"# HELP bytes_total Other words.
# TYPE bytes_total counter
bytes_total{listener="echo",direction="written"} 2
bytes_total{listener="new",direction="written"} 5
# TYPE connections_active gauge
connections_active{listener="echo"} 40
# TYPE duration_seconds histogram
duration_seconds_bucket{listener="echo",le="0.25"} 10
duration_seconds_bucket{listener="echo",le="+Inf"} 10
duration_seconds_sum{listener="echo"} 0.1
duration_seconds_count{listener="echo"} 10
# TYPE elsewhere_total counter
elsewhere_total 1
"#,
    ));
    let text = sum.to_string();
    for line in [
        "# HELP bytes_total Bytes.",
        r#"bytes_total{direction="written",listener="echo"} 9007199254740995"#,
        r#"bytes_total{direction="written",listener="new"} 5"#,
        r#"connections_active{listener="echo"} 2"#,
        r#"duration_seconds_bucket{listener="echo",le="0.25"} 11"#,
        r#"duration_seconds_bucket{listener="echo",le="+Inf"} 12"#,
        r#"duration_seconds_sum{listener="echo"} 3.35"#,
        r#"duration_seconds_count{listener="echo"} 12"#,
        "# TYPE elsewhere_total counter",
        "elsewhere_total 1",
    ] {
        assert!(text.lines().any(|found| found == line), "no {line:?} in:\n{text}");
    }
    assert_eq!(text.matches("# TYPE bytes_total ").count(), 1, "{text}");
}

#[test]
fn open_connections_have_the_number_of_their_generation() {
    let mut shown = read(TEXT);
    let older = read(
        "# TYPE connections_active gauge\nconnections_active{listener=\"echo\"} 3\n# TYPE draining gauge\ndraining 1\n",
    );
    shown.add_open(&older, 4);
    shown.add_open(&older, 4);
    let text = shown.to_string();
    let expected =
        "connections_active{listener=\"echo\"} 2\nconnections_active{listener=\"echo\",generation=\"4\"} 6\n";
    assert!(text.contains(expected), "{text}");
    assert_eq!(text.matches("draining 1").count(), 1, "{text}");
}

#[test]
fn what_is_handed_over_is_what_others_can_use() {
    let text = read(TEXT).for_others().to_string();
    assert!(text.contains("bytes_total{") && text.contains("duration_seconds_sum{"), "{text}");
    assert!(text.contains("connections_active{"), "{text}");
    assert!(!text.contains("draining") && !text.contains("quantiles"), "{text}");
}

#[test]
fn a_family_that_is_something_else_elsewhere_stays_what_it_is_here() {
    let mut sum = read("# TYPE a_total counter\na_total 1\n# TYPE b gauge\nb 2\n");
    let before = sum.to_string();
    sum.add(&read("# TYPE a_total gauge\na_total 5\n# TYPE b counter\nb 5\n"));
    assert_eq!(sum.to_string(), before);
}

#[test]
fn what_no_exporter_writes_is_not_added() {
    let mut sum = Families::default();
    for garbage in [
        "a_total 1",
        "# TYPE a_total counter\na_total 1.5",
        "# TYPE a_total counter\na_total -1",
        "# TYPE a_total counter\na_total{x=\"1\"} 1 1234567",
        "# TYPE a_total counter\nb_total 1",
        "# TYPE a-b counter\na-b 1",
        "# TYPE h histogram\nh_bucket 1",
        "# TYPE h histogram\nh_sum 1\nh_count 1",
        "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 2\nh_sum 1\nh_count 1",
        "# TYPE s summary\ns_sum 1\ns_count 1",
    ] {
        sum.add(&read(garbage));
        assert_eq!(sum.to_string(), "", "{garbage}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(?s).*") {
        let families = read(&text);
        let mut sum = read(TEXT);
        sum.add(&families);
        sum.add_open(&families, 1);
        // What was understood is understood again.
        prop_assert_eq!(read(&sum.to_string()).to_string(), sum.to_string());
    }

    #[test]
    fn no_line_makes_it_panic(
        lines in proptest::collection::vec(
            r#"(# TYPE (a|b|connections_active) (counter|gauge|histogram|x)|(a|b|connections_active)(_bucket|_sum|_count)?(\{(le|x)="[+Inf1\\"n]{0,4}"[,}]{0,2})? ?-?[0-9.NainfE]{0,25})"#,
            0..20,
        )
    ) {
        let families = read(&lines.join("\n"));
        let mut sum = families.clone();
        sum.add(&families);
        sum.add_open(&families, u64::MAX);
        prop_assert_eq!(read(&sum.to_string()).to_string(), sum.to_string());
    }

    #[test]
    fn the_order_of_adding_says_nothing(counts in proptest::collection::vec((0..u64::MAX / 8, 0.0..1e9_f64), 3)) {
        let texts: Vec<_> = counts
            .iter()
            .map(|(count, sum)| {
                format!("# TYPE h histogram\nh_bucket{{le=\"+Inf\"}} {count}\nh_sum {sum}\nh_count {count}\n\n")
            })
            .map(|text| read(&text))
            .collect();
        let added = |order: [usize; 3]| {
            let mut sum = Families::default();
            for index in order {
                    sum.add(&texts[index]);
                }
            sum.to_string()
        };
        let mut left = texts[1].clone();
        left.add(&texts[2]);
        let mut grouped = texts[0].clone();
        grouped.add(&read(&left.to_string()));
        prop_assert_eq!(added([0, 1, 2]), added([2, 0, 1]));
        prop_assert_eq!(added([0, 1, 2]), grouped.to_string());
    }
}
