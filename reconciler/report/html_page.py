"""The shell of a page: head, style, the one small script, and the policy that forbids everything else.

Comes in: a title and a body already escaped. Goes out: one file that asks for nothing from anywhere.
The policy names the script by its digest, so that no other script could run even if text got through unescaped.
Without scripts the page is whole and readable; the script adds the filter and the search.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape

from reconciler.report.html_style import STYLE
from reconciler.text import harmless

SCRIPT = """
(() => {
  const tools = document.getElementById('tools');
  if (!tools) return;
  const cards = [...document.querySelectorAll('.act')];
  const chips = [...tools.querySelectorAll('[data-of]')];
  const find = document.getElementById('find');
  const shown = document.getElementById('shown');
  const all = document.getElementById('all');
  const texts = new Map();
  const textOf = (card) => {
    if (!texts.has(card)) texts.set(card, card.textContent.toLowerCase());
    return texts.get(card);
  };
  const isOn = (chip) => chip.getAttribute('aria-pressed') === 'true';
  const pressed = (of) => new Set(chips.filter((chip) => chip.dataset.of === of && isOn(chip)).map((chip) => chip.dataset.is));
  const number = (count) => count.toLocaleString('en');
  const apply = () => {
    const verbs = pressed('verb');
    const kinds = pressed('kind');
    const words = find.value.toLowerCase().split(/\\s+/).filter(Boolean);
    let count = 0;
    for (const card of cards) {
      const picked = (!verbs.size || verbs.has(card.dataset.verb)) && (!kinds.size || kinds.has(card.dataset.kind));
      const on = picked && words.every((word) => textOf(card).includes(word));
      card.hidden = !on;
      count += on;
    }
    shown.textContent = number(count) + (count === cards.length ? '' : ' of ' + number(cards.length)) + ' shown';
  };
  for (const chip of chips) {
    chip.addEventListener('click', () => {
      chip.setAttribute('aria-pressed', String(!isOn(chip)));
      apply();
    });
  }
  let waiting = 0;
  find.addEventListener('input', () => {
    clearTimeout(waiting);
    waiting = setTimeout(apply, 120);
  });
  all.addEventListener('click', () => {
    const open = all.textContent === 'Open all';
    for (const card of cards) if (!card.hidden) card.open = open;
    all.textContent = open ? 'Close all' : 'Open all';
  });
  const jump = () => {
    const card = location.hash && document.getElementById(location.hash.slice(1));
    if (!card || !card.matches('.act')) return;
    card.hidden = false;
    card.open = true;
    card.scrollIntoView();
  };
  addEventListener('hashchange', jump);
  tools.hidden = false;
  apply();
  jump();
})();
"""


def policy(script: str) -> str:
    """Return the content security policy of a page that holds this script and nothing else that acts."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def page(title: str, body: str) -> str:
    """Return the whole file. ``title`` is plain text; ``body`` is HTML."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy(SCRIPT)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        '<meta name="referrer" content="no-referrer"><meta name="robots" content="noindex">'
        f"<title>{escape(harmless(title))}</title><style>{STYLE}</style></head>\n"
        f"<body><main>\n{body}\n</main><script>{SCRIPT}</script></body></html>\n"
    )
