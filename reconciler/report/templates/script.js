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
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
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
    const open = all.textContent === 'Expand all';
    for (const card of cards) if (!card.hidden) card.open = open;
    all.textContent = open ? 'Collapse all' : 'Expand all';
  });
  const jump = () => {
    const card = location.hash && document.getElementById(location.hash.slice(1));
    if (!card || !card.matches('.act')) return;
    card.hidden = false;
    card.open = true;
    card.scrollIntoView();
  };
  addEventListener('hashchange', jump);
  if (cards.every((card) => card.open)) all.textContent = 'Collapse all';
  tools.hidden = false;
  apply();
  jump();
})();
