// What pages do beside being read: they go along with the job, say when they are old, and read charts aloud.
'use strict';

(() => {
  const meta = name => document.querySelector(`meta[name="${name}"]`)?.content ?? '';
  const byId = id => document.getElementById(id);
  const csrf = meta('csrf');
  const staleAfter = Number(meta('stale-after')) || 5000;
  const stalledAfter = Number(meta('stalled-after')) || 4000;
  const zone = meta('zone') || 'UTC';
  const OLD_AFTER = 60_000;
  if (!meta('now')) return;

  // The server's clock counts: ages are as old as the server says, whatever this machine's clock shows.
  let offset = Number(meta('now')) - Date.now();
  let heard = performance.now();
  let batch = 0;
  let batchAt = Number(meta('batch-at'));
  let trouble = '';
  let isCut = false;
  const now = () => Date.now() + offset;

  const length = milliseconds => {
    const seconds = Math.max(0, Math.floor(milliseconds / 1000));
    const two = number => String(number).padStart(2, '0');
    if (seconds < 60) return `${seconds} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${two(seconds % 60)} s`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${two(Math.floor(seconds / 60) % 60)} m`;
    return `${Math.floor(seconds / 86400)} d ${Math.floor(seconds / 3600) % 24} h`;
  };
  // Only what differs is written, so that nothing is laid out anew and readers of screens stay calm.
  const write = (element, text) => { if (element && element.textContent !== text) element.textContent = text; };
  const make = (name, kind, text) => {
    const element = document.createElement(name);
    if (kind) element.className = kind;
    if (text) element.textContent = text;
    return element;
  };

  const clock = new Intl.DateTimeFormat('en-GB', {
    timeZone: zone, hour: '2-digit', minute: '2-digit', second: '2-digit', timeZoneName: 'short',
  });
  const moment = new Intl.DateTimeFormat('en-GB', {
    timeZone: zone, day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', second: '2-digit',
  });

  // ---- tiles

  class Tile {
    constructor(element) {
      this.element = element;
      this.id = element.dataset.id;
      this.at = Number(element.dataset.at);
      this.numbers = [...element.querySelectorAll('.numbers > div')].map(number => ({
        value: number.querySelector('.value'), sign: number.querySelector('.sign'),
        age: number.querySelector('.age'), path: number.querySelector('path'),
      }));
      this.score = element.querySelector('.score');
      this.alert = element.querySelector('.alert');
      this.updated = element.querySelector('.updated');
      this.isStale = element.classList.contains('stale');
      this.shown = '';
      this.hasAlert = element.dataset.severity !== '';
    }

    take(news) {
      this.at = news.at;
      news.numbers.forEach(([text, at, sign], index) => {
        const number = this.numbers[index];
        if (!number) return;
        write(number.value, text);
        write(number.sign, sign);
        number.age.dataset.at = at;
      });
      if (news.score) {
        if (!this.score.querySelector('b')) {
          this.score.replaceChildren('NEWS2 ', make('b'), ' ', make('span', 'sign'));
        }
        write(this.score.querySelector('b'), news.score[0]);
        write(this.score.querySelector('.sign'), news.score[1]);
      }
      news.sparks?.forEach((path, index) => this.numbers[index]?.path.setAttribute('d', path));
    }

    // Where nothing new is known of anybody, the silence of one says nothing of their device.
    tick(time, isStalled) {
      const age = time - this.at;
      const isStale = age > staleAfter;
      if (isStale !== this.isStale) {
        this.isStale = isStale;
        this.element.classList.toggle('stale', isStale);
        if (!this.hasAlert) this.alert.replaceChildren(...(isStale ? [] : [make('span', 'quiet', 'all within limits')]));
      }
      const silence = isStalled ? `last known ${length(age)} ago` : `no data for ${length(age)}`;
      write(this.updated, this.at === 0 ? 'no reading has come yet' : isStale ? silence : `updated ${length(age)} ago`);
      for (const { value, age: element } of this.numbers) {
        const at = Number(element.dataset.at);
        const isOld = at > 0 && time - at > OLD_AFTER;
        value.classList.toggle('old', isOld);
        write(element, isOld ? `${length(time - at)} ago` : '');
      }
    }

    // What stands, worst first; nothing is built anew where it reads as before.
    show(episodes) {
      const shown = JSON.stringify(episodes.map(({ id, text, severity, acknowledged_by }) => [id, text, severity, acknowledged_by]));
      if (shown === this.shown) return;
      this.shown = shown;
      const worst = episodes[0];
      this.hasAlert = Boolean(worst);
      this.element.classList.remove('high', 'medium', 'low', 'technical');
      this.element.dataset.severity = worst?.severity ?? '';
      if (!worst) {
        this.alert.replaceChildren(...(this.isStale ? [] : [make('span', 'quiet', 'all within limits')]));
        return;
      }
      this.element.classList.add(worst.severity);
      const since = make('span', 'quiet since', length(now() - worst.since));
      since.dataset.since = worst.since;
      const more = episodes.length > 1 ? [make('span', 'quiet', `and ${episodes.length - 1} more`)] : [];
      this.alert.replaceChildren(make('span', `badge ${worst.severity}`, `${worst.sign} ${worst.text}`), since, ...more, ...taking(worst, '/'));
    }
  }

  const mayAcknowledge = () => document.body.dataset.mayAcknowledge === 'true';

  // The button that takes an episode on, or who has.
  const taking = (episode, back) => {
    if (episode.acknowledged_by) return [make('span', 'quiet by', `acknowledged by ${episode.acknowledged_by}`)];
    if (!mayAcknowledge()) return [];
    const form = make('form', 'acknowledge');
    form.method = 'post';
    form.action = '/alerts/acknowledge';
    form.dataset.episode = episode.id;
    for (const [name, value] of [['csrf', csrf], ['episode', episode.id], ['back', back]]) {
      const field = make('input');
      Object.assign(field, { type: 'hidden', name, value });
      form.append(field);
    }
    const button = make('button', '', 'Ack');
    button.type = 'submit';
    button.setAttribute('aria-label', `Acknowledge ${episode.text}`);
    form.append(button);
    return [form];
  };

  let tiles = new Map();
  const findTiles = () => {
    tiles = new Map([...document.querySelectorAll('.tile')].map(element => [element.dataset.id, new Tile(element)]));
  };
  findTiles();

  // ---- what the server tells

  let episodes = [];
  let alarmed = null;

  const take = event => {
    const told = JSON.parse(event.data);
    heard = performance.now();
    offset = told.now - Date.now();
    isCut = false;
    batch = told.batch;
    batchAt = told.batch_at;
    trouble = told.trouble;
    for (const [id, news] of Object.entries(told.beds ?? {})) tiles.get(id)?.take(news);
    if (told.episodes) showEpisodes(told.episodes);
    if (String(told.patients) !== document.body.dataset.patients) readAnew(told.patients);
    tick();
  };

  const showEpisodes = all => {
    episodes = all;
    const of = new Map();
    for (const episode of all) of.set(episode.patient, [...(of.get(episode.patient) ?? []), episode]);
    for (const [id, tile] of tiles) tile.show(of.get(id) ?? []);
    const waiting = all.filter(episode => !episode.acknowledged_by).length;
    write(byId('waiting'), String(waiting));
    if (byId('waiting')) byId('waiting').hidden = waiting === 0;
    const count = severity => all.filter(episode => episode.severity === severity).length;
    const counts = ['high', 'medium', 'low', 'technical'].map(name => [count(name), name]).filter(([number]) => number > 0);
    const patients = Number(document.body.dataset.patients);
    const of_all = `${patients} ${patients === 1 ? 'patient' : 'patients'}`;
    write(byId('summary'), counts.length ? `${of_all} · ${counts.map(one => one.join(' ')).join(' · ')}` : `${of_all}, no open alert`);
    if (byId('open-alerts')) readOpenAlerts();
    filter();
    const high = new Set(all.filter(episode => episode.severity === 'high' && !episode.acknowledged_by).map(episode => episode.id));
    if (alarmed) {
      const fresh = all.filter(episode => high.has(episode.id) && !alarmed.has(episode.id));
      if (fresh.length) {
        sound();
        say(`${fresh[0].text}${fresh.length > 1 ? ` and ${fresh.length - 1} more` : ''}`);
        for (const { patient } of fresh) {
          const element = tiles.get(patient)?.element;
          element?.classList.add('new');
          setTimeout(() => element?.classList.remove('new'), 3000);
        }
      }
    }
    alarmed = high;
  };

  // Nothing is moved under a finger or while something in it has the focus.
  const isTouched = element => element.matches(':active') || element.contains(document.activeElement);

  const section = async (path, id) => {
    const answer = await fetch(path, { headers: { accept: 'text/html' } });
    if (!answer.ok) return null;
    return { page: new DOMParser().parseFromString(await answer.text(), 'text/html'), id };
  };

  let isReading = false;
  const readAnew = async patients => {
    const place = byId('tiles');
    if (!place || isReading || isTouched(place)) return;
    isReading = true;
    try {
      const read = await section(location.href, 'tiles');
      const fresh = read?.page.getElementById('tiles');
      if (fresh && !isTouched(place)) {
        place.replaceChildren(...fresh.childNodes);
        const [wards, known] = [read.page.querySelector('select[name=ward]'), document.querySelector('select[name=ward]')];
        if (wards && known && wards.length !== known.length) {
          const chosen = known.value;
          known.replaceChildren(...wards.options);
          known.value = chosen;
        }
        if (byId('empty')) byId('empty').hidden = tiles.size > 0 || place.children.length > 0;
        document.body.dataset.patients = String(patients);
        findTiles();
        showEpisodes(episodes);
        listen();
      }
    } finally { isReading = false; }
  };

  const readOpenAlerts = async () => {
    const place = byId('open-alerts');
    if (isReading || isTouched(place)) return;
    isReading = true;
    try {
      const fresh = (await section(location.href, 'open-alerts'))?.page.getElementById('open-alerts');
      if (fresh && !isTouched(place)) place.replaceChildren(...fresh.childNodes);
    } finally { isReading = false; }
  };

  // What is not judged comes and goes while the page is open.
  const unjudged = byId('unjudged');
  const readUnjudged = async () => {
    const fresh = (await section(location.href, 'unjudged').catch(() => null))?.page.getElementById('unjudged');
    if (fresh && !isTouched(unjudged) && fresh.innerHTML !== unjudged.innerHTML) unjudged.replaceChildren(...fresh.childNodes);
  };
  if (unjudged) setInterval(() => { if (!document.hidden) readUnjudged(); }, 5000);

  // The browser comes again by itself where the line breaks, but not where it is refused.
  let source = null;
  const listen = () => {
    source?.close();
    source = new EventSource('/events');
    source.addEventListener('ward', take);
    source.addEventListener('beat', take);
    source.addEventListener('error', () => {
      isCut = true;
      if (source.readyState === EventSource.CLOSED) {
        setTimeout(listen, 2000);
        // Logged out in the meantime.
        fetch('/api/v1/status', { method: 'HEAD' }).then(answer => { if (answer.status === 401) location.reload(); }, () => {});
      }
    });
  };

  // ---- time passes

  const stalled = () => {
    const silence = performance.now() - heard;
    if (silence > stalledAfter) return `No word from the server for ${length(silence)}. What is shown here is old.`;
    if (trouble) return trouble;
    // By the server's last word: while it says nothing, nobody knows how the job fares.
    if (batchAt && now() - silence - batchAt > stalledAfter) {
      return `The job has committed nothing for ${length(now() - batchAt)}. What is shown here is old.`;
    }
    return '';
  };

  const tick = () => {
    const time = now();
    const why = stalled();
    document.body.classList.toggle('is-stalled', why !== '');
    const banner = byId('stalled');
    banner.hidden = why === '';
    write(banner, why);
    write(byId('clock'), clock.format(time));
    if (batchAt) write(byId('lag'), `${batch ? `batch ${batch}, ` : ''}${length(time - batchAt)} ago`);
    for (const tile of tiles.values()) tile.tick(time, why !== '');
    for (const element of document.querySelectorAll('.since')) write(element, length(time - Number(element.dataset.since)));
  };

  const say = text => {
    const place = byId('told');
    place.hidden = false;
    write(place, text);
    clearTimeout(say.timer);
    say.timer = setTimeout(() => { place.hidden = true; }, 8000);
  };

  // ---- filter and order

  const filter = () => {
    const form = byId('filter');
    if (!form) return;
    const words = form.elements.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const ward = form.elements.ward?.value ?? '';
    const severity = form.elements.severity.value;
    let shown = 0;
    for (const { element } of tiles.values()) {
      const text = `${element.querySelector('h2').textContent} ${element.dataset.id} ${element.dataset.ward}`.toLowerCase();
      const of = element.dataset.severity;
      const isShown = words.every(word => text.includes(word)) && (!ward || element.dataset.ward === ward)
        && (!severity || (severity === 'any' ? of !== '' : of === severity));
      if (element.hidden === isShown) element.hidden = !isShown;
      shown += isShown;
    }
    const none = byId('none');
    if (none) none.hidden = shown > 0 || tiles.size === 0;
    order(form.elements.order.value);
  };

  const RANK = { high: 0, medium: 1, low: 2, technical: 3, '': 4 };
  let places = null;
  const order = by => {
    const grid = byId('tiles');
    if (isTouched(grid)) return;
    places ??= [...tiles.keys()];
    if (places.length !== tiles.size) places = [...tiles.keys()];
    const wanted = [...places];
    if (by === 'severity') {
      const rank = id => RANK[tiles.get(id)?.element.dataset.severity ?? ''];
      wanted.sort((a, b) => rank(a) - rank(b));
    }
    const current = [...grid.children].map(element => element.dataset.id);
    if (wanted.some((id, index) => id !== current[index])) {
      grid.append(...wanted.map(id => tiles.get(id)?.element).filter(Boolean));
    }
  };

  byId('filter')?.addEventListener('input', () => {
    const form = byId('filter');
    const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== ''));
    history.replaceState(null, '', query.size ? `?${query}` : location.pathname);
    filter();
  });
  byId('filter')?.addEventListener('submit', event => event.preventDefault());
  byId('search-reports')?.addEventListener('input', event => {
    const words = event.target.value.toLowerCase().split(/\s+/);
    for (const row of byId('reports').rows) row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
  });

  // ---- acknowledging without leaving the page

  document.addEventListener('submit', async event => {
    const form = event.target.closest('form.acknowledge');
    if (!form) return;
    event.preventDefault();
    const button = form.querySelector('button');
    // The form may be gone when the answer comes, and the focus with it.
    const home = form.closest('.tile, tr, section');
    const hadFocus = form.contains(document.activeElement);
    button.disabled = true;
    write(button, '…');
    const done = await fetch(`/api/v1/alerts/${encodeURIComponent(form.dataset.episode)}/acknowledgement`, {
      method: 'POST', headers: { 'content-type': 'application/json', 'x-csrf-token': csrf }, body: '{}',
    }).then(async answer => {
      if (answer.status === 200) return 'Acknowledged.';
      if (answer.status === 202) return 'Put down; the job takes it over with its next batch.';
      return (await answer.json()).detail;
    }).catch(() => 'The server does not answer; nothing was acknowledged.');
    say(done);
    button.disabled = false;
    write(button, 'Ack');
    if (hadFocus) home?.querySelector('a')?.focus();
  });

  // ---- sound, which browsers allow only after a click

  let audio = null;
  const button = byId('sound');
  if (button && 'AudioContext' in window) {
    button.hidden = false;
    button.addEventListener('click', () => {
      const isOn = button.getAttribute('aria-pressed') !== 'true';
      button.setAttribute('aria-pressed', String(isOn));
      write(button, isOn ? 'Sound on' : 'Sound off');
      if (isOn) {
        audio ??= new AudioContext();
        audio.resume().then(sound);
      }
    });
  }

  // Three tones and two, as the high priority of IEC 60601-1-8 has them.
  const sound = () => {
    if (!audio || button.getAttribute('aria-pressed') !== 'true') return;
    [0, 0.15, 0.3, 0.65, 0.8].forEach((start, index) => {
      const [tone, loudness] = [audio.createOscillator(), audio.createGain()];
      tone.frequency.value = [523, 659, 784, 523, 659][index];
      const at = audio.currentTime + start;
      loudness.gain.setValueAtTime(0, at);
      loudness.gain.linearRampToValueAtTime(0.25, at + 0.02);
      loudness.gain.linearRampToValueAtTime(0, at + 0.12);
      tone.connect(loudness).connect(audio.destination);
      tone.start(at);
      tone.stop(at + 0.13);
    });
  };

  // ---- the chart

  const figure = document.querySelector('[data-chart]');
  if (figure) {
    const dark = matchMedia('(prefers-color-scheme: dark)');
    const line = make('div', 'line');
    line.hidden = true;
    let chart = null;
    let read = null;

    const draw = async () => {
      const answer = await fetch(`${figure.dataset.chart}&theme=${dark.matches ? 'dark' : 'light'}`).catch(() => null);
      if (!answer?.ok) {
        if (!chart) figure.replaceChildren(make('p', 'quiet', answer ? (await answer.json()).detail : 'The chart cannot be read.'));
        return;
      }
      chart = await answer.json();
      const svg = new DOMParser().parseFromString(chart.svg, 'image/svg+xml').documentElement;
      svg.setAttribute('aria-hidden', 'true');
      figure.replaceChildren(document.importNode(svg, true), line);
      const table = new DOMParser().parseFromString(chart.table, 'text/html').body.firstChild;
      byId('values').replaceChildren(document.importNode(table, true));
      if (read !== null) tell(read);
    };

    const number = value => (Number.isInteger(value) ? String(value) : value.toFixed(1));
    // The values at a time: of each line the nearest point that is near enough to mean it.
    const tell = at => {
      read = Math.min(Math.max(at, chart.from), chart.until);
      const [left, right, width] = chart.axis;
      const share = (read - chart.from) / (chart.until - chart.from);
      line.hidden = false;
      line.style.setProperty('left', `${((left + share * (right - left)) / width) * 100}%`);
      const near = ((chart.until - chart.from) / (right - left)) * 6;
      const values = chart.lines.map(({ label, unit, points }) => {
        let [low, high] = [0, points.length];
        while (low < high) {
          const middle = (low + high) >> 1;
          if (points[middle][0] < read) low = middle + 1; else high = middle;
        }
        const found = [points[low - 1], points[low]].filter(Boolean).sort((a, b) => Math.abs(a[0] - read) - Math.abs(b[0] - read))[0];
        if (!found || Math.abs(found[0] - read) > Math.max(near, 3000)) return null;
        const value = found[1] === found[2] ? number(found[1]) : `${number(found[1])}–${number(found[2])}`;
        return make('span', '', `${label} ${value} ${unit}`);
      });
      byId('reading').replaceChildren(make('b', '', moment.format(read)), ...values.filter(Boolean));
      if (!values.some(Boolean)) byId('reading').append(make('span', '', 'no data at this time'));
    };

    const point = event => {
      if (!chart) return;
      const place = figure.getBoundingClientRect();
      const [left, right, width] = chart.axis;
      const share = (((event.clientX - place.left) / place.width) * width - left) / (right - left);
      tell(chart.from + share * (chart.until - chart.from));
    };
    figure.addEventListener('pointermove', point);
    figure.addEventListener('pointerdown', point);
    figure.addEventListener('keydown', event => {
      const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20 };
      if (!chart || !(event.key in steps)) return;
      event.preventDefault();
      byId('reading').setAttribute('aria-live', 'polite');
      tell((read ?? chart.until) + (steps[event.key] * (chart.until - chart.from)) / 200);
    });
    dark.addEventListener('change', draw);
    draw();
    const last = new URLSearchParams(figure.dataset.chart.split('?')[1]).get('last');
    setInterval(() => { if (!document.hidden) draw(); }, { '1h': 5000, '6h': 30_000, '24h': 60_000, '7d': 300_000 }[last] ?? 30_000);
  }

  filter();
  listen();
  tick();
  setInterval(tick, 500);
})();
