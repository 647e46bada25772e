"""The page in a real browser: it draws, follows the ring, and asks nobody else for anything."""

from __future__ import annotations

import urllib.parse

import balancer_process as balancers
import browser
import pytest
import requests


@pytest.fixture(scope="module", autouse=True)
def chromium():
    browser.require()


@pytest.fixture
def servers():
    with balancers.upstreams("web-0", "web-1", "web-2", "web-3") as found:
        yield found


def membership(servers, generation):
    return balancers.document(
        *((server.name, server.address) for server in servers), generation=generation
    )


ROW = "[...document.querySelectorAll('#members tr')]"


def test_the_page_shows_the_ring_and_follows_it(tmp_path, servers):
    with balancers.running(tmp_path) as balancer, browser.tab() as tab:
        balancer.push(membership(servers[:3], 1))
        tab.open(balancer.control + "/")
        assert tab.evaluate("document.querySelectorAll('#ring-donut path').length") == 3
        assert (
            tab.evaluate("document.querySelector('#ring svg').getBoundingClientRect().width") > 300
        )
        assert tab.evaluate("document.getElementById('change').hidden") is True

        # Live counts.
        for number in range(30):
            headers = {"X-Request-Id": str(number)}
            assert requests.get(balancer.url, headers=headers, timeout=5).ok
        count = f"{ROW}.reduce((sum, row) => sum + Number(row.children[5].textContent), 0)"
        tab.eventually(f"{count} === 30", what="thirty counted requests")

        # Where a key goes.
        why = balancer.ask("GET", f"{balancer.ring}/explain", params={"key": "alice"}).json()
        tab.evaluate("document.getElementById('key').focus()")
        tab.type("alice")
        said = tab.eventually("document.getElementById('answer').textContent", what="an answer")
        assert f"slot {why['slot']} of 65536" in said
        assert f"member {why['member']}" in said
        marked = "[...document.querySelectorAll('.rm-member.found')].map(e => e.dataset.member)"
        assert set(tab.evaluate(marked)) == {why["member"]}

        # A change: the pictures follow without a reload, and the difference is shown.
        tab.evaluate("window.unchanged = true")
        balancer.push(membership(servers, 2))
        tab.eventually(
            "document.querySelectorAll('#ring-donut path').length === 4", what="a fourth"
        )
        assert tab.evaluate("window.unchanged") is True
        assert "generation 2" in tab.evaluate("document.getElementById('summary').textContent")
        tab.eventually("!document.getElementById('change').hidden", what="the difference")
        assert tab.evaluate("document.querySelectorAll('#change .rm-moves').length") == 3
        assert "0.0% needlessly" in tab.evaluate(
            "document.querySelector('#change desc').textContent"
        )

        # A member that dies is told by state, in words and in the picture.
        servers[1].close()
        servers[1].close = lambda: None
        state = f"{ROW}.find(row => row.dataset.replica === 'web-1-r').children[3].textContent"
        tab.eventually(f"{state} === 'unhealthy'", what="the state of the dead")
        tab.eventually("!!document.querySelector('#shares .rm-unhealthy')", what="its bar")

        assert tab.said == []
        hosts = {urllib.parse.urlsplit(url).netloc for url in tab.asked}
        assert hosts == {urllib.parse.urlsplit(balancer.control).netloc}

        # And when the balancer is gone, the page says so.
        balancer.stop()
        tab.eventually("!document.getElementById('alarm').hidden", what="the alarm")
        assert tab.evaluate("document.querySelectorAll('#ring-donut path').length") == 4
