//! The order in which files are made: what a file refers to before the file itself, for the name of a content is in what refers to it.

/// What comes in which order, and which of it goes round in circles.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// Each before those that refer to it, as far as there is such an order.
    pub(super) order: Vec<usize>,
    /// Whether each leads back to itself.
    pub(super) circular: Vec<bool>,
}

/// Finds the order, by Tarjan's algorithm for strongly connected components, without recursion. `edges` are what each refers to.
pub(super) fn order(edges: &[Vec<usize>]) -> Order {
    const NEW: usize = usize::MAX;
    let count = edges.len();
    let mut found = Order { order: Vec::with_capacity(count), circular: vec![false; count] };
    let mut index = vec![NEW; count];
    let mut low = vec![0; count];
    let mut open = vec![false; count];
    let mut stack: Vec<usize> = Vec::new();
    let mut next = 0;
    for start in 0..count {
        if index.get(start) != Some(&NEW) {
            continue;
        }
        // The node, and how many of its edges have been followed.
        let mut way: Vec<(usize, usize)> = vec![(start, 0)];
        while let Some((node, followed)) = way.last_mut() {
            let node = *node;
            if *followed == 0 {
                (index[node], low[node], open[node]) = (next, next, true);
                next += 1;
                stack.push(node);
            }
            if let Some(&target) = edges[node].get(*followed) {
                *followed += 1;
                if index[target] == NEW {
                    way.push((target, 0));
                } else if open[target] {
                    low[node] = low[node].min(index[target]);
                }
                continue;
            }
            way.pop();
            if let Some((before, _)) = way.last() {
                low[*before] = low[*before].min(low[node]);
            }
            if low[node] == index[node] {
                let first = stack.iter().rposition(|other| *other == node).unwrap_or(0);
                let members = stack.split_off(first);
                let circular = members.len() > 1 || edges[node].contains(&node);
                for member in members {
                    (open[member], found.circular[member]) = (false, circular);
                    found.order.push(member);
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_referred_to_comes_first_and_circles_are_known() {
        // 0 -> 1 -> 2, 3 -> 4 -> 5 -> 4, 6 -> 6, 3 -> 0
        let found = order(&[vec![1], vec![2], vec![], vec![4, 0], vec![5], vec![4], vec![6]]);
        let place = |node: usize| found.order.iter().position(|other| *other == node).unwrap();
        assert!(place(2) < place(1) && place(1) < place(0) && place(0) < place(3) && place(4) < place(3));
        assert_eq!(found.circular, [false, false, false, false, true, true, true]);
        assert_eq!(found.order.len(), 7);
    }

    #[test]
    fn a_long_chain_is_no_deep_recursion() {
        let edges: Vec<Vec<usize>> =
            (0..100_000).map(|node| if node + 1 < 100_000 { vec![node + 1] } else { vec![] }).collect();
        assert_eq!(order(&edges).order.first(), Some(&99_999));
    }
}
