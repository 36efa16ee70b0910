//! Which nodes share a job, and which jobs an array.

use super::request::Request;

/// Jobs per array: Slurm's default limit of positions in an array is 1001.
const JOBS_AT_MOST: usize = 1000;

/// Divides nodes into arrays: nodes that ask for the same share one, and as many of them as their request says share a job.
/// The order of the nodes is kept.
pub(super) fn arrays<T>(nodes: Vec<T>, request: impl Fn(&T) -> &Request) -> Vec<Vec<Vec<T>>> {
    let mut alike: Vec<(Request, Vec<T>)> = Vec::new();
    for node in nodes {
        let asked = request(&node);
        match alike.iter_mut().find(|(request, _)| request == asked) {
            Some((_, nodes)) => nodes.push(node),
            None => alike.push((asked.clone(), vec![node])),
        }
    }
    let mut arrays = Vec::new();
    for (request, nodes) in alike {
        let mut jobs = chunks(nodes, request.group).peekable();
        while jobs.peek().is_some() {
            arrays.push(jobs.by_ref().take(JOBS_AT_MOST).collect());
        }
    }
    arrays
}

fn chunks<T>(nodes: Vec<T>, size: usize) -> impl Iterator<Item = Vec<T>> {
    let mut nodes = nodes.into_iter();
    std::iter::from_fn(move || {
        let chunk: Vec<T> = nodes.by_ref().take(size).collect();
        (!chunk.is_empty()).then_some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_ask_for_the_same_share_an_array() {
        let request = |cpus, group| Request {
            options: vec![format!("--cpus-per-task={cpus}")],
            cpus,
            group,
            memory: None,
            time: None,
        };
        let nodes: Vec<(usize, Request)> =
            (0..7).map(|index| (index, if index == 3 { request(4, 1) } else { request(1, 4) })).collect();
        let indexes: Vec<Vec<Vec<usize>>> = arrays(nodes, |(_, request)| request)
            .into_iter()
            .map(|array| array.into_iter().map(|job| job.into_iter().map(|(index, _)| index).collect()).collect())
            .collect();
        assert_eq!(indexes, [vec![vec![0, 1, 2, 4], vec![5, 6]], vec![vec![3]]]);
    }

    #[test]
    fn an_array_has_a_limit() {
        let one = Request { options: Vec::new(), cpus: 1, group: 1, memory: None, time: None };
        let sizes: Vec<usize> = arrays(vec![one; 2345], |request| request).iter().map(Vec::len).collect();
        assert_eq!(sizes, [1000, 1000, 345]);
    }
}
