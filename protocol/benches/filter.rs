//! What filters cost per message: codes of a consume queue beside a set of tags, and expressions over properties in their
//! text form. Medians of alternating rounds on one thread.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use castmq_protocol::filter::{CompiledFilter, PropertyValues, Selector, Value};
use castmq_protocol::model::{TagsCode, tags_code};
use castmq_protocol::native::request::Filter;

const ROUNDS: usize = 15;
const CODES: usize = 1_000_000;
/// Different messages, so that branches and caches do not learn one by heart.
const MESSAGES: usize = 1_000;
const PASSES: usize = 100;

struct Measured<'a> {
    what: String,
    /// Things looked at in one run.
    count: usize,
    /// Looks at all of them, and returns how many matched.
    run: Box<dyn Fn() -> usize + 'a>,
    times: Vec<Duration>,
}

impl<'a> Measured<'a> {
    fn new(what: impl Into<String>, count: usize, run: impl Fn() -> usize + 'a) -> Self {
        Self {
            what: what.into(),
            count,
            run: Box::new(run),
            times: Vec::new(),
        }
    }

    fn report(mut self) {
        self.times.sort();
        let nanos = self.times[self.times.len() / 2].as_nanos() as f64 / self.count as f64;
        println!(
            "{}: {:.0} per second, {nanos:.1} ns each, {} of {} match",
            self.what,
            1e9 / nanos,
            (self.run)(),
            self.count
        );
    }
}

/// Codes of messages of which one in a thousand has the tag `wanted`.
fn codes() -> Vec<TagsCode> {
    (0..CODES)
        .map(|n| match n % 1_000 {
            500 => tags_code(Some("wanted")),
            other => tags_code(Some(&format!("tag-{other}"))),
        })
        .collect()
}

/// Ten properties, as a client and a broker write them; about half satisfy the expression of the benchmark.
fn properties(n: usize) -> Vec<u8> {
    let region = ["eu-north", "eu-south", "us-east"][n % 3];
    [
        ("TAGS", format!("tag-{}", n % 50)),
        ("KEYS", format!("order-{n} customer-{}", n % 77)),
        ("UNIQ_KEY", format!("7F0000010A2C18B4AAC2{n:012X}")),
        ("WAIT", "true".to_owned()),
        ("CLUSTER", "DefaultCluster".to_owned()),
        ("region", region.to_owned()),
        ("price", format!("{}.{:02}", n % 200, n % 100)),
        ("quantity", (n % 10).to_string()),
        ("customer", format!("customer-{}", n % 77)),
        ("TRACE_CONTEXT", format!("00-{n:032x}-{n:016x}-01")),
    ]
    .iter()
    .flat_map(|(name, value)| [name, "\x01", value, "\x02"].concat().into_bytes())
    .collect()
}

struct Typed(BTreeMap<&'static str, Value<'static>>);

impl PropertyValues for Typed {
    fn value(&self, name: &str) -> Option<Value<'_>> {
        self.0.get(name).copied()
    }
}

fn typed(n: usize) -> Typed {
    Typed(BTreeMap::from([
        (
            "region",
            Value::Str(["eu-north", "eu-south", "us-east"][n % 3]),
        ),
        ("price", Value::Float((n % 200) as f64 + 0.5)),
        ("quantity", Value::Int((n % 10) as i64)),
    ]))
}

fn main() {
    let codes = codes();
    let messages: Vec<Vec<u8>> = (0..MESSAGES).map(properties).collect();
    let typed: Vec<Typed> = (0..MESSAGES).map(typed).collect();
    let one = CompiledFilter::from_tags_text("wanted").unwrap();
    let names: Vec<String> = (0..32).map(|n| format!("wanted-{n}")).collect();
    let many = CompiledFilter::from_tags_text(&format!("{}||wanted", names.join("||"))).unwrap();
    let tag = CompiledFilter::from_tags_text("tag-7").unwrap();
    let sql = |text: &str| CompiledFilter::new(&Filter::Sql(text.to_owned())).unwrap();
    let three = sql("region = 'eu-north' AND price > 50.0 AND quantity BETWEEN 1 AND 8");
    let all_three = sql("region <> 'x' AND price >= 0.01 AND quantity >= 0");
    let absent = sql("absent = 'x' OR missing > 5 OR gone IN ('a', 'b')");
    let selector = "region = 'eu-north' AND price > 50 AND quantity BETWEEN 1 AND 8";
    let jms = Selector::new(selector).unwrap();

    let scan = |filter: &CompiledFilter| {
        let wanted = |code: &&TagsCode| filter.may_match_code(black_box(**code));
        codes.iter().filter(wanted).count()
    };
    let look = |filter: &CompiledFilter| {
        let wanted = |message: &&Vec<u8>| filter.matches(black_box(message));
        (0..PASSES)
            .map(|_| messages.iter().filter(wanted).count())
            .sum()
    };
    let looks = MESSAGES * PASSES;
    let mut all = [
        Measured::new("codes, 1 tag", CODES, || scan(&one)),
        Measured::new("codes, 33 tags", CODES, || scan(&many)),
        Measured::new("tags as strings", looks, || look(&tag)),
        Measured::new("SQL, three comparisons", looks, || look(&three)),
        Measured::new("SQL, three comparisons that all hold", looks, || {
            look(&all_three)
        }),
        Measured::new("SQL, nothing of it is there", looks, || look(&absent)),
        Measured::new("JMS, three comparisons over a map", looks, || {
            let wanted = |message: &&Typed| jms.matches(black_box(*message));
            (0..PASSES)
                .map(|_| typed.iter().filter(wanted).count())
                .sum()
        }),
    ];
    let bytes: usize = messages.iter().map(Vec::len).sum();
    println!("{} bytes of properties per message", bytes / MESSAGES);
    for _ in 0..ROUNDS {
        for measured in &mut all {
            let start = Instant::now();
            black_box((measured.run)());
            measured.times.push(start.elapsed());
        }
    }
    for measured in all {
        measured.report();
    }
}
