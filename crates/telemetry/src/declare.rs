//! The two macros that declare what is measured.

/// Declares every metric of a service once: field, kind, unit, labels, help.
///
/// A declaration is `name: Kind`, then in this order any of
/// - `in seconds` or `in bytes`: the unit, which becomes part of the name;
/// - `by Label` or `by (LabelA, LabelB)`: closed labels, a [`By`](crate::By);
/// - `by ["subnet", "pool"] max 1024`: bounded dynamic labels, a [`Dynamic`](crate::Dynamic);
/// - `=> history`: keep 10-second points of it.
///
/// The help text is its doc comment. The struct has `Default` and [`Collect`](crate::Collect).
///
/// ```
/// use outwork_telemetry::{labels, metrics};
/// labels! {
///     /// What became of a request.
///     pub enum Outcome as "outcome" { Answered = "answered", Dropped = "dropped" }
/// }
/// metrics! {
///     /// The echo service's metrics.
///     pub struct EchoMetrics, prefix "outwork_echo" {
///         /// Requests received.
///         received: Counter by Outcome => history,
///         /// Connections open now.
///         open: Gauge by ["listener"] max 64,
///         /// Time from request to answer.
///         answer_time: Histogram in seconds => history,
///     }
/// }
/// let metrics = EchoMetrics::default();
/// metrics.received.of(Outcome::Answered).inc();
/// metrics.answer_time.record(std::time::Duration::from_micros(80));
/// let listener = metrics.open.cell(["127.0.0.1:7"]); // looked up once, kept
/// listener.inc();
/// ```
#[macro_export]
macro_rules! metrics {
    (
        $(#[$meta:meta])*
        $vis:vis struct $struct:ident, prefix $prefix:literal {
            $(
                $(#[doc = $help:literal])+
                $field:ident : $kind:ident $(in $unit:ident)? $(by $label:tt $(max $max:expr)?)? $(=> $history:ident)?
            ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        $vis struct $struct {
            $(
                $(#[doc = $help])+
                $vis $field: $crate::metrics!(@type $kind $($label)?),
            )*
        }

        impl Default for $struct {
            fn default() -> Self {
                Self { $($field: $crate::metrics!(@new $($label $(max $max)?)?),)* }
            }
        }

        impl $crate::Collect for $struct {
            fn collect(&self, families: &mut Vec<$crate::Family>) {
                $(
                    let (samples, overflow) = $crate::Cells::read(&self.$field);
                    families.push($crate::Family {
                        desc: $crate::Desc {
                            name: concat!(
                                $prefix, "_", stringify!($field),
                                $crate::metrics!(@unit_suffix $($unit)?), $crate::metrics!(@kind_suffix $kind)
                            ),
                            help: concat!($($help),+),
                            kind: $crate::Kind::$kind,
                            unit: $crate::metrics!(@unit $($unit)?),
                            history: $crate::metrics!(@history $($history)?),
                        },
                        samples,
                        overflow,
                    });
                )*
            }
        }
    };

    (@type $kind:ident) => { $crate::$kind };
    (@type $kind:ident [$($name:literal),+]) => { $crate::Dynamic<{ [$($name),+].len() }, $crate::$kind> };
    (@type $kind:ident $label:ty) => { $crate::By<$label, $crate::$kind> };

    (@new [$($name:literal),+] max $max:expr) => { $crate::Dynamic::new([$($name),+], $max) };
    (@new $($label:tt)?) => { Default::default() };

    (@unit) => { $crate::Unit::None };
    (@unit seconds) => { $crate::Unit::Seconds };
    (@unit bytes) => { $crate::Unit::Bytes };
    (@unit_suffix) => { "" };
    (@unit_suffix seconds) => { "_seconds" };
    (@unit_suffix bytes) => { "_bytes" };

    (@kind_suffix Counter) => { "_total" };
    (@kind_suffix $kind:ident) => { "" };

    (@history) => { false };
    (@history history) => { true };
}

/// Declares a closed label set: an enum whose variants give the label's values.
///
/// `labels! { /// Why. pub enum Reason as "reason" { Malformed = "malformed", Full = "full" } }`
#[macro_export]
macro_rules! labels {
    (
        $(#[$meta:meta])*
        $vis:vis enum $enum:ident as $name:literal {
            $( $(#[$variant_meta:meta])* $variant:ident = $value:literal ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $vis enum $enum {
            $( #[doc = concat!("`", $value, "`")] $(#[$variant_meta])* $variant, )+
        }

        impl $enum {
            /// Every value, in order.
            $vis const ALL: &[Self] = &[$(Self::$variant),+];

            /// The label's value.
            $vis const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $value),+ }
            }
        }

        impl $crate::Label for $enum {
            const COUNT: usize = Self::ALL.len();

            fn index(self) -> usize {
                self as usize
            }

            fn labels(index: usize) -> $crate::Labels {
                Self::ALL.get(index).map(|value| ($name, value.as_str().into())).into_iter().collect()
            }
        }
    };
}
