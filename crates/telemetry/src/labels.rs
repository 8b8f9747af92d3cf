//! Metrics with labels. A closed set is an enum and costs an index; a dynamic set is bounded, and its cells are looked up
//! once, when what they measure appears.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::cell::Counter;
use crate::family::{Cell, Cells, Labels, Sample};

/// A closed set of label values: usually an enum from [`labels!`](crate::labels), or a pair of them.
pub trait Label: Copy {
    /// How many values the set has.
    const COUNT: usize;
    /// The position of this value, below [`COUNT`](Label::COUNT).
    fn index(self) -> usize;
    /// The label names and values of a position.
    fn labels(index: usize) -> Labels;
}

impl<A: Label, B: Label> Label for (A, B) {
    const COUNT: usize = A::COUNT * B::COUNT;

    fn index(self) -> usize {
        self.0.index() * B::COUNT + self.1.index()
    }

    fn labels(index: usize) -> Labels {
        let mut labels = A::labels(index / B::COUNT);
        labels.extend(B::labels(index % B::COUNT));
        labels
    }
}

/// One cell for each value of a closed label set.
#[derive(Debug)]
pub struct By<L, C> {
    cells: Box<[C]>,
    label: PhantomData<fn(L)>,
}

impl<L: Label, C: Cell> By<L, C> {
    /// The cell of a label value.
    pub fn of(&self, label: L) -> &C {
        &self.cells[label.index()]
    }
}

impl<L: Label, C: Cell> Default for By<L, C> {
    fn default() -> Self {
        Self { cells: (0..L::COUNT).map(|_| C::default()).collect(), label: PhantomData }
    }
}

impl<L: Label, C: Cell> Cells for By<L, C> {
    fn read(&self) -> (Vec<Sample>, Option<u64>) {
        let sample = |(index, cell): (usize, &C)| Sample { labels: L::labels(index), value: cell.value() };
        (self.cells.iter().enumerate().map(sample).collect(), None)
    }
}

/// Cells for label values that the configuration or the network brings: subnets, interfaces, peers. At most `limit` of them;
/// whoever comes later shares one cell labelled `other`, and is counted.
#[derive(Debug)]
pub struct Dynamic<const N: usize, C> {
    names: [&'static str; N],
    limit: usize,
    cells: RwLock<BTreeMap<[String; N], Arc<C>>>,
    other: Arc<C>,
    overflow: Counter,
}

impl<const N: usize, C: Cell> Dynamic<N, C> {
    /// An empty set of these label names.
    pub fn new(names: [&'static str; N], limit: usize) -> Self {
        Self { names, limit, cells: RwLock::default(), other: Arc::default(), overflow: Counter::default() }
    }

    /// The cell of these label values, made when it is new. It takes a lock: keep what it returns.
    pub fn cell(&self, values: [&str; N]) -> Arc<C> {
        let key = values.map(str::to_owned);
        let mut cells = self.cells.write();
        if let Some(cell) = cells.get(&key) {
            return cell.clone();
        }
        if cells.len() >= self.limit {
            self.overflow.inc();
            return self.other.clone();
        }
        cells.entry(key).or_default().clone()
    }

    /// Forgets every cell whose label values are not `wanted`: what a reload calls.
    pub fn retain(&self, mut wanted: impl FnMut(&[String; N]) -> bool) {
        self.cells.write().retain(|values, _| wanted(values));
    }
}

impl<const N: usize, C: Cell> Cells for Dynamic<N, C> {
    fn read(&self) -> (Vec<Sample>, Option<u64>) {
        let labels = |values: &[String; N]| -> Labels {
            self.names.iter().zip(values).map(|(name, value)| (*name, value.clone().into())).collect()
        };
        let cells = self.cells.read();
        let mut samples: Vec<_> =
            cells.iter().map(|(values, cell)| Sample { labels: labels(values), value: cell.value() }).collect();
        let overflow = self.overflow.get();
        if overflow > 0 {
            let labels = self.names.iter().map(|name| (*name, "other".into())).collect();
            samples.push(Sample { labels, value: self.other.value() });
        }
        (samples, Some(overflow))
    }
}
