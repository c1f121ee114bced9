//! The methods that read: GET, and HEAD wherever GET is (RFC 9110, 9.1). The HTTP library sends no body to HEAD.

use warp::Filter;
use warp::filters::BoxedFilter;

pub(super) fn reading() -> BoxedFilter<()> {
    warp::get().or(warp::head()).unify().boxed()
}
