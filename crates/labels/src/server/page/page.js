'use strict';
// Whatever comes from the server is put in by textContent alone: an answer that holds HTML or a script is shown as text.
const $ = id => document.getElementById(id);
const LETTERS = 'ABCDEFGHI';
let token = '';      // who I am
let now = null;      // what the server said last
let shownAt = 0;     // when the task was shown, for the seconds that a label takes
let ratings = [];    // of each answer as shown; null for none
let ranking = null;  // the answers chosen so far, from the best; null when no ranking is being made
let rating = -1;     // the answer that the next digit rates
let busy = false;    // a call is under way
let unsure = null;   // a change whose reply was lost: it is repeated with its key, so that it is made once

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function button(className, text, key, act) {
  const node = make('button', className, text);
  node.type = 'button';
  if (key) node.append(' ', make('kbd', '', key));
  node.addEventListener('click', act);
  return node;
}

function notice(text) {
  $('notice').textContent = text;
  $('notice').hidden = !text;
}

function view(name) {
  for (const id of ['label', 'done', 'enter', 'counts']) $(id).hidden = id !== name;
  $('undo').disabled = !now || name === 'counts' || now.progress.done === 0;
}

async function call(path, body) {
  const headers = { Authorization: 'Bearer ' + token };
  if (body) headers['Content-Type'] = 'application/json';
  const reply = await fetch('/api/' + path, { method: body ? 'POST' : 'GET', headers, body: body && JSON.stringify(body) });
  if (reply.ok) return reply;
  const told = await reply.json().catch(() => ({}));
  const error = new Error(told.error || 'The server answered ' + reply.status + '.');
  error.status = reply.status;
  throw error;
}

// Runs one call at a time. What could not be kept is said, and the page stays as it is, so that nothing is lost.
async function ask(path, body) {
  if (busy) return;
  busy = true;
  if (body) {
    // An undo that may have been made is settled before anything else: the page may show another item than the server.
    if (unsure && unsure.path === 'undo') [path, body] = [unsure.path, unsure.body];
    else if (unsure && unsure.path === path && alike(unsure.body, body)) body = unsure.body;
    else body = { ...body, key: newKey() };
  }
  try {
    const reply = await (await call(path, body)).json();
    notice('');
    unsure = null;
    show(reply);
  } catch (error) {
    if (body) unsure = error.status ? null : { path, body };
    if (error.status === 401) { now = null; view('enter'); $('token').focus(); if (token) notice(error.message); }
    else if (error.status) notice(error.message);
    else notice('The server cannot be reached. Press again in a moment; nothing is done twice.');
  } finally {
    busy = false;
  }
}

function alike(one, other) {
  return one.item === other.item && JSON.stringify(one.label) === JSON.stringify(other.label);
}

// 128 random bits. The page may be served without TLS, where crypto.randomUUID is missing.
function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, '0')).join('');
}

function show(reply) {
  now = reply;
  const { done, left } = reply.progress;
  $('bar').max = Math.max(1, done + left);
  $('bar').value = done;
  $('count').textContent = done + ' of ' + (done + left);
  $('person').textContent = reply.person;
  $('admin').hidden = !reply.is_admin;
  if (!reply.task) { view('done'); return; }
  view('label');
  shownAt = performance.now();
  const count = reply.task.answers.length;
  const said = reply.said;
  ratings = said && said.ratings.length ? said.ratings.slice() : Array(count).fill(null);
  ranking = null;
  rating = -1;
  $('comment').value = said ? said.comment : '';
  $('prompt').replaceChildren(...texts(reply.task.prompt));
  $('answers').replaceChildren(...reply.task.answers.map(card));
  $('tie').hidden = count < 2;
  $('rank').hidden = count < 3;
  $('bad-name').textContent = count === 1 ? 'Bad' : count === 2 ? 'Both bad' : 'All bad';
  // What was undone is marked, so that one sees what one had said.
  const kind = said && said.verdict.kind;
  for (const [id, name] of [['tie', 'tie'], ['bad', 'all_bad'], ['skip', 'skip'], ['rated', 'rated']]) {
    $(id).classList.toggle('was', kind === name);
  }
  const best = kind === 'best' ? said.verdict.answer : kind === 'ranking' ? said.verdict.answers[0] : -1;
  if (best >= 0) document.querySelectorAll('.better')[best].classList.add('was');
  refresh();
  window.scrollTo(0, 0);
}

function texts(text) {
  if (typeof text === 'string') return [make('div', 'text', text)];
  return text.flatMap(message => [make('p', 'role', message.role), make('div', 'text', lines(message))]);
}

// The text of a message, and a line for each further field, such as the calls of tools.
function lines({ role, content = '', ...further }) {
  const said = typeof content === 'string' ? content : content.map(part => part.text).join('');
  const fields = Object.entries(further).map(([name, value]) =>
    `${name}: ${typeof value === 'string' ? value : JSON.stringify(value)}`);
  return [said, ...fields].join('\n').trim();
}

function card(text, place, all) {
  const node = make('article', 'answer');
  node.setAttribute('aria-label', 'Answer ' + LETTERS[place]);
  const body = make('div', 'body');
  body.append(...texts(text));
  const foot = make('div', 'foot');
  const key = all.length === 2 ? (place ? '2 \u2192' : '1 \u2190') : String(place + 1);
  const name = all.length === 1 ? 'Good' : all.length === 2 ? LETTERS[place] + ' is better' : LETTERS[place] + ' is best';
  foot.append(button('better', name, key, () => choose(place)));
  const rates = make('div', 'rates');
  rates.setAttribute('role', 'group');
  rates.setAttribute('aria-label', 'Rating of answer ' + LETTERS[place]);
  const hint = make('span', 'hint', 'Rate');
  if (place === 0) hint.append(' ', make('kbd', '', 'R'));
  rates.append(hint);
  for (let value = 1; value <= now.scale; value++) rates.append(button('', String(value), '', () => rate(place, value)));
  foot.append(rates);
  node.append(body, foot);
  return node;
}

// Shows ratings and the ranking as they stand.
function refresh() {
  document.querySelectorAll('.answer').forEach((node, place) => {
    node.classList.toggle('rating', place === rating);
    node.querySelectorAll('.rates button').forEach((one, index) => {
      one.setAttribute('aria-pressed', String(ratings[place] === index + 1));
    });
    const better = node.querySelector('.better');
    const rank = ranking ? ranking.indexOf(place) : -1;
    better.disabled = rank >= 0;
    if (now.task.answers.length > 2) {
      better.firstChild.textContent = ranking ? LETTERS[place] + (rank >= 0 ? ': ' + (rank + 1) : ' is next') : LETTERS[place] + ' is best';
    }
  });
  $('rank').setAttribute('aria-pressed', String(ranking !== null));
  $('rated').hidden = ratings.every(value => value === null);
}

function choose(place) {
  if (!ranking) return submit({ kind: 'best', answer: place });
  if (ranking.includes(place)) return;
  ranking.push(place);
  refresh();
  if (ranking.length === now.task.answers.length) submit({ kind: 'ranking', answers: ranking.slice() });
}

function rate(place, value) {
  ratings[place] = ratings[place] === value ? null : value;
  refresh();
}

function submit(verdict) {
  const label = { verdict, ratings: ratings.some(value => value !== null) ? ratings : [], comment: $('comment').value.trim() };
  ask('label', { item: now.task.item, label, seconds: (performance.now() - shownAt) / 1000 });
}

function toggleRanking() {
  ranking = ranking ? null : [];
  refresh();
}

function nextRating() {
  rating = rating + 1 < now.task.answers.length ? rating + 1 : -1;
  refresh();
}

document.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.matches('textarea, input, select')) {
    if (event.key === 'Escape') event.target.blur();
    return;
  }
  const key = event.key.toLowerCase();
  const labelling = !$('label').hidden;
  const digit = /^[1-9]$/.test(key) ? Number(key) : 0;
  const count = labelling ? now.task.answers.length : 0;
  if (key === 'u' && !$('undo').disabled) ask('undo', {});
  else if (!labelling) return;
  else if (rating >= 0 && digit) { if (digit <= now.scale) { ratings[rating] = digit; nextRating(); } }
  else if (digit && digit <= count) choose(digit - 1);
  else if (key === 'arrowleft' && count === 2) choose(0);
  else if (key === 'arrowright' && count === 2) choose(1);
  else if (key === 't' && count > 1) submit({ kind: 'tie' });
  else if (key === 'x') submit({ kind: 'all_bad' });
  else if (key === 's') submit({ kind: 'skip' });
  else if (key === 'k' && count > 2) toggleRanking();
  else if (key === 'r') nextRating();
  else if (key === 'escape') { rating = -1; ranking = null; refresh(); }
  else if (key === 'enter' && !$('rated').hidden && event.target === document.body) submit({ kind: 'rated' });
  else if (key === 'c') $('comment').focus();
  else return;
  event.preventDefault();
});

$('tie').addEventListener('click', () => submit({ kind: 'tie' }));
$('bad').addEventListener('click', () => submit({ kind: 'all_bad' }));
$('skip').addEventListener('click', () => submit({ kind: 'skip' }));
$('rated').addEventListener('click', () => submit({ kind: 'rated' }));
$('rank').addEventListener('click', toggleRanking);
$('undo').addEventListener('click', () => ask('undo', {}));
$('back').addEventListener('click', () => ask('next'));
$('admin').addEventListener('click', counts);
$('enter-form').addEventListener('submit', event => {
  event.preventDefault();
  enter($('token').value.trim().replace(/^.*#/, ''));
});

function table(head, rows) {
  const node = make('table');
  const line = (tag, cells) => {
    const row = make('tr');
    row.append(...cells.map(cell => make(tag, '', cell === null ? '\u2013' : typeof cell === 'number' ? String(Math.round(cell * 1000) / 1000) : cell)));
    return row;
  };
  node.append(line('th', head), ...rows.map(row => line('td', row)));
  const scroll = make('div', 'scroll');
  scroll.append(node);
  return scroll;
}

async function counts() {
  try {
    const of = await (await call('summary')).json();
    const share = count => of.labels ? Math.round(100 * count / of.labels) + ' %' : '0 %';
    const names = { first: 'the answer shown first', later: 'one shown later', tie: 'tie', all_bad: 'all bad', skip: 'skipped', rated: 'only rated' };
    $('tables').replaceChildren(
      table(['items', 'labelled by ' + of.overlap + ' or more', 'checks', 'labels'], [[of.items, of.finished, of.gold, of.labels]]),
      make('h2', '', 'People'),
      table(['name', 'labels', 'skipped', 'median seconds', 'checks right'],
        of.annotators.map(one => [one.name, one.labels, one.skips, one.seconds, one.gold_right + ' of ' + one.gold])),
      make('h2', '', 'Verdicts'),
      table(['verdict', 'labels', 'share'], Object.entries(of.verdicts).map(([name, count]) => [names[name], count, share(count)])),
      make('h2', '', 'Agreement beyond chance'),
      table(['who', 'measure', 'kappa', 'items'], [
        ...of.cohen.map(pair => [pair.first + ', ' + pair.second, "Cohen's kappa", pair.kappa, pair.items]),
        ['all', "Fleiss' kappa", of.fleiss, of.fleiss_items],
      ]),
    );
    if (of.policies.length) {
      $('tables').append(make('h2', '', 'Policies against each other'),
        table(['policy', 'won', 'lost', 'neither'], of.policies.map(one => [one.name, one.wins, one.losses, one.ties])));
    }
    notice('');
    view('counts');
  } catch (error) {
    notice(error.message);
  }
}

$('export').addEventListener('click', async () => {
  try {
    const path = encodeURIComponent($('form').value) + '/' + $('format').value;
    const link = make('a');
    link.href = URL.createObjectURL(await (await call('export/' + path)).blob());
    link.download = $('form').value + '.' + $('format').value;
    link.click();
    URL.revokeObjectURL(link.href);
    notice('');
  } catch (error) {
    notice(error.message);
  }
});

// The part of a link after # is not sent anywhere; it is kept for this tab, and taken out of the address.
function enter(given) {
  token = given || sessionStorage.getItem('palestra-token') || document.querySelector('meta[name="palestra-key"]').content;
  if (given) sessionStorage.setItem('palestra-token', given);
  if (location.hash) history.replaceState(null, '', location.pathname);
  ask('next');
}
// A link that is opened where the page already is changes nothing but this part.
addEventListener('hashchange', () => { if (location.hash) enter(location.hash.slice(1)); });
enter(location.hash.slice(1));
