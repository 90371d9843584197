// Relative and local times, copy buttons, search while one types, and new figures while the page is not in use.
(() => {
  const REFRESH = 60000;

  let skew = 0;
  const setClock = (page) => {
    const meta = page.querySelector('meta[name=now]');
    if (meta) skew = Date.now() / 1000 - Number(meta.content);
  };
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
    if (label === 'Copied') return;
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

  // What is loaded replaces a part of the page. The newest request wins.
  let newest = 0;
  let due = Date.now() + REFRESH;
  const lost = document.createElement('p');
  lost.className = 'panel alert v-failed';
  lost.setAttribute('role', 'alert');
  const load = async (url, selectors) => {
    const number = ++newest;
    due = Date.now() + REFRESH;
    let page;
    try {
      const response = await fetch(url);
      if (!response.ok) throw new Error(response.status);
      page = new DOMParser().parseFromString(await response.text(), 'text/html');
    } catch {
      lost.textContent = lost.textContent || 'The controller does not answer. This page is as of ' + local(new Date()) + '.';
      document.querySelector('main').prepend(lost);
      return;
    }
    if (number !== newest) return;
    lost.remove();
    lost.textContent = '';
    setClock(page);
    for (const selector of selectors) {
      const [shown, updated] = [document.querySelector(selector), page.querySelector(selector)];
      if (shown && updated && selector === '#range') shown.textContent = updated.textContent; // replaced, it would not be read out
      else if (shown && updated) shown.replaceWith(document.adoptNode(updated));
    }
    document.title = page.title;
    history.replaceState(null, '', url);
    enhance();
  };

  const find = () => {
    const form = document.querySelector('form[role=search]');
    const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
    return load(form.action + (query.size ? '?' + query : ''), ['#found', '#filters', '#range']);
  };
  let waiting = 0;
  document.addEventListener('input', (event) => {
    if (!event.target.closest('form[role=search]')) return;
    clearTimeout(waiting);
    waiting = setTimeout(find, 150);
  });

  // What was said once is not said again.
  const here = new URL(location);
  if (here.searchParams.has('done')) {
    here.searchParams.delete('done');
    history.replaceState(null, '', here);
  }

  let opened = false;
  document.addEventListener('click', (event) => { opened ||= Boolean(event.target.closest('summary')); });
  const refresh = () => {
    showTimes();
    if (Date.now() < due || document.hidden || opened || !getSelection().isCollapsed) return;
    const at = document.activeElement;
    if (at === document.body) load(location.href, ['main']);
    else if (at.closest('form[role=search]')) find();
  };
  setInterval(refresh, 5000);
  // Back and forward restore a page as it was left.
  addEventListener('pageshow', (event) => { if (event.persisted) load(location.href, ['main']); });
  document.addEventListener('visibilitychange', refresh);
  setClock(document);
  enhance();
})();
