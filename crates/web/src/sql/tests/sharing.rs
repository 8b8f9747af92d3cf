//! What requests have in common: one query for all who want the same, and the threads that it goes on in.

use futures_util::future::join_all;

use super::Asked;
use crate::sql::metrics::Lookup;

#[tokio::test]
async fn requests_for_the_same_wait_for_one_and_those_beyond_the_settings_run_by_themselves() {
    for (followers, run, waited) in [(0, 4, 0), (1, 3, 1), (1000, 1, 3)] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("site.db");
        rusqlite::Connection::open(&file).unwrap().execute_batch("create table t (x)").unwrap();
        let site = Asked::new(&format!(
            "[web.query_cache]\nttl = '1h'\nfollowers = {followers}\n\
             [web.database.main]\nurl = 'sqlite:{}'\nchange_check = '1h'\n\
             [route.'/first']\ndatabase = 'main'\nsql = 'select 1 as one'\n\
             [route.'/slow']\ndatabase = 'main'\n\
             sql = 'with recursive n(i) as (select 1 union all select i + 1 from n where i < 200000) select max(i) as most from n'\n",
            file.display()
        ));
        // From then on nobody has to look whether the file has changed.
        site.get("/first").await;
        let count = |lookup| site.shared().metrics.lookups.of(lookup).get();
        let before = count(Lookup::Miss);
        let answers = join_all((0..4).map(|_| site.get("/slow"))).await;
        assert!(answers.iter().all(|answer| answer.body == "[{\"most\":200000}]\n"), "{answers:?}");
        assert_eq!((count(Lookup::Miss) - before, count(Lookup::Collapsed)), (run, waited), "{followers}");
    }
}

#[test]
fn queries_that_go_on_for_several_have_as_many_threads_as_the_settings_say() {
    for threads in [1, 3] {
        let site = Asked::new(&format!("[web]\nquery_threads = {threads}\n"));
        assert_eq!(site.shared().runtime().unwrap().metrics().num_workers(), threads);
    }
}
