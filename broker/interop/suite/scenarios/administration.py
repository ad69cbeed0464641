"""Administration: the requests of the tools, to every shard, with one shard gone."""

from .. import check
from ..scenario import scenario


@scenario("admin")
def placeholder(context, client):
    check.that(True, "")
