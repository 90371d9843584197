// Relative and local times, copy buttons, search while one types, and a reload while nobody is busy with the page.
(() => {
  const meta = document.querySelector('meta[name=now]');
  const skew = meta ? Date.now() / 1000 - Number(meta.content) : 0;

  const duration = (seconds) => {
    for (const [size, unit] of [[86400, 'day'], [3600, 'hour'], [60, 'min']]) {
      if (seconds < size) continue;
      const number = Math.floor(seconds / size);
      return number + ' ' + unit + (number === 1 || unit === 'min' ? '' : 's');
    }
    return Math.floor(Math.max(0, seconds)) + ' s';
  };
  const local = (date) => date.toLocaleString('sv', {
    year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit', second: '2-digit', timeZoneName: 'short',
  });
  const showTimes = () => {
    for (const time of document.querySelectorAll('time[data-as]')) {
      const date = new Date(time.dateTime);
      const here = local(date);
      const utc = time.dataset.utc || time.title;
      time.dataset.utc = utc;
      time.title = here + ' (' + utc + ')';
      const past = Date.now() / 1000 - skew - date / 1000;
      if (time.dataset.as === 'local') time.textContent = here;
      else if (time.dataset.as === 'clock') time.textContent = here.slice(11, 16);
      else if (time.dataset.as === 'day') time.textContent = here.slice(5, 10);
      else if (time.dataset.as === 'ago') time.textContent = past >= 1 ? duration(past) + ' ago' : 'just now';
      else time.textContent = past <= -1 ? 'in ' + duration(-past) : 'now';
    }
  };

  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Without https there is no clipboard, except on this machine.
      const area = document.createElement('textarea');
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand('copy');
      area.remove();
    }
  };
  document.addEventListener('click', async (event) => {
    const button = event.target.closest('button.copy');
    if (!button) return;
    await copy(button.previousElementSibling.textContent);
    button.focus();
    const label = button.getAttribute('aria-label');
    button.textContent = 'Copied';
    button.setAttribute('aria-label', 'Copied');
    setTimeout(() => {
      button.textContent = 'Copy';
      button.setAttribute('aria-label', label);
    }, 1500);
  });

  const enhance = () => {
    for (const button of document.querySelectorAll('button.copy')) button.hidden = false;
    showTimes();
  };

  const form = document.querySelector('form[role=search]');
  let waiting = 0;
  let newest = 0;
  const find = async () => {
    const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
    const url = form.action + (query.size ? '?' + query : '');
    const number = ++newest;
    const response = await fetch(url);
    if (!response.ok) return;
    const page = new DOMParser().parseFromString(await response.text(), 'text/html');
    if (number !== newest) return;
    for (const id of ['found', 'filters']) {
      const [shown, fresh] = [document.getElementById(id), page.getElementById(id)];
      if (shown && fresh) shown.replaceWith(document.adoptNode(fresh));
    }
    const range = page.getElementById('range');
    if (range) document.getElementById('range').textContent = range.textContent;
    history.replaceState(null, '', url);
    enhance();
  };
  if (form) {
    form.elements.q.addEventListener('input', () => {
      clearTimeout(waiting);
      waiting = setTimeout(find, 150);
    });
  }

  // What was said once is not said again by a reload.
  const here = new URL(location);
  if (here.searchParams.has('done')) {
    here.searchParams.delete('done');
    history.replaceState(null, '', here);
  }

  let opened = false;
  document.addEventListener('click', (event) => { opened ||= Boolean(event.target.closest('summary')); });
  const isBusy = () => opened || document.hidden || document.activeElement !== document.body || !getSelection().isCollapsed;
  let due = Date.now() + 60000;
  setInterval(() => {
    showTimes();
    if (Date.now() >= due && !isBusy()) {
      due = Date.now() + 60000;
      location.reload();
    }
  }, 5000);
  enhance();
})();
