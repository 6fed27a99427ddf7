// Labelling. Texts come as HTML that the server sanitised, or are put in by textContent as they are.
const LETTERS = 'ABCDEFGHI';
let token = '';      // who I am
let setup = null;    // what is asked of every item: scale, criteria, strength, guidelines
let now = null;      // what the server said last
let shownAt = 0;     // when the task was shown, for the seconds that a label takes
let ratings = {};    // of each answer as shown, by criterion; '' is the overall rating; null for none
let ranking = null;  // the answers chosen so far, from the best; null when no ranking is being made
let rating = -1;     // the row of ratings that the next digit fills: they are numbered answer by answer
let busy = false;    // a call is under way
let unsure = null;   // a change whose reply was lost: it is repeated with its key, so that it is made once

function notice(text, isEnglish) {
  $('notice').textContent = text;
  $('notice').lang = isEnglish ? 'en' : '';
  $('notice').hidden = !text;
}

function view(name) {
  for (const id of ['label', 'done', 'enter', 'counts']) $(id).hidden = id !== name;
  const cannotGoBack = !now || name === 'counts' || now.progress.done === 0;
  $('undo').disabled = cannotGoBack || now.back !== null;
  $('earlier').disabled = cannotGoBack || now.back >= now.progress.done;
}

async function call(path, body) {
  const headers = { Authorization: 'Bearer ' + token };
  if (body) headers['Content-Type'] = 'application/json';
  const reply = await fetch('/api/' + path, { method: body ? 'POST' : 'GET', headers, body: body && JSON.stringify(body) });
  if (reply.ok) return reply;
  const told = await reply.json().catch(() => ({}));
  const error = new Error(told.error || say('answered', { status: reply.status }));
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
    if (!setup) await setUp();
    const reply = await (await call(path, body)).json();
    notice('');
    unsure = null;
    show(reply);
  } catch (error) {
    if (body) unsure = error.status ? null : { path, body };
    if (error.status === 401) { now = null; view('enter'); $('token').focus(); if (token) notice(error.message, true); }
    else if (error.status) notice(error.message, true);
    else notice(say('unreachable'));
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

async function setUp() {
  setup = await (await call('setup')).json();
  $('guide').hidden = !setup.guidelines;
  if (!setup.guidelines) return;
  $('guidelines-text').innerHTML = setup.guidelines;
  $('guidelines-text').lang = setup.language;
  // Guidelines that this browser has not shown yet are open.
  guidelines(setting('guidelines-read') !== setup.guidelines);
}

function guidelines(isOpen) {
  $('guidelines').hidden = !isOpen;
  $('guide').setAttribute('aria-expanded', String(isOpen));
  if (!isOpen) set('guidelines-read', setup.guidelines);
}

function rows() {
  return ['', ...setup.criteria];
}

function show(reply) {
  const focus = document.activeElement && document.activeElement.dataset.focus;
  now = reply;
  const { done, left } = reply.progress;
  $('bar').max = Math.max(1, done + left);
  $('bar').value = done;
  $('count').textContent = say('count', { done, all: done + left });
  $('person').textContent = reply.person;
  $('admin').hidden = !reply.is_admin;
  if (!reply.task) { view('done'); announce(say('nothing_left')); return; }
  const count = reply.task.answers.length;
  const said = reply.said;
  shownAt = performance.now();
  ratings = {};
  for (const row of rows()) {
    const given = said && (row ? said.criteria && said.criteria[row] : said.ratings);
    ratings[row] = given && given.length ? given.slice() : Array(count).fill(null);
  }
  ranking = null;
  rating = -1;
  $('comment').value = said ? said.comment : '';
  render();
  view('label');
  const again = focus && document.querySelector(`[data-focus="${CSS.escape(focus)}"]`);
  if (again) again.focus({ preventScroll: true });
  window.scrollTo(0, 0);
  const text = say('next_item', { number: done + 1, all: done + left, answers: count });
  announce(reply.back === null ? text : $('revised').textContent);
}

function announce(text) {
  $('announcer').textContent = text;
}

// Shows the task in the language and the form that are set.
function render() {
  const count = now.task.answers.length;
  $('prompt').replaceChildren(...texts(now.task.prompt, now.prompt_html));
  $('answers').replaceChildren(...now.task.answers.map(card));
  $('tie').hidden = count < 2;
  $('rank').hidden = count < 3;
  $('bad-name').textContent = say(count === 1 ? 'bad' : count === 2 ? 'both_bad' : 'all_bad');
  $('revising').hidden = now.back === null;
  if (now.back !== null) $('revised').textContent = say('revising', { back: now.back });
  // What was said before is marked.
  const { kind, answer, answers } = now.said ? now.said.verdict : {};
  for (const [id, name] of [['tie', 'tie'], ['bad', 'all_bad'], ['skip', 'skip'], ['rated', 'rated']]) {
    $(id).classList.toggle('was', kind === name);
  }
  const best = kind === 'best' ? answer : kind === 'ranking' ? answers[0] : -1;
  if (best >= 0) {
    const strength = now.said.strength || '';
    const own = document.querySelectorAll('.answer')[best].querySelectorAll('.better');
    (Array.from(own).find(one => one.dataset.strength === strength) || own[0]).classList.add('was');
  }
  refresh();
}

function texts(content, html) {
  const plain = $('plain').checked;
  const node = (text, index) => {
    const node = make('div', plain ? 'text plain' : 'text rendered', plain ? text.replace(/\]\(data:image\/[^)]*\)/g, ']') : undefined);
    if (!plain) node.innerHTML = html[index];
    node.dir = 'auto';
    node.lang = setup.language;
    return node;
  };
  if (typeof content === 'string') return [node(content, 0)];
  return content.flatMap((message, index) => [make('p', 'role', message.role), node(lines(message), index)]);
}

// The text of a message, and a line for each further field, such as the calls of tools.
function lines({ role, content = '', ...further }) {
  const said = typeof content === 'string' ? content : (content || []).map(part => part.text).join('');
  const fields = Object.entries(further).map(([name, value]) =>
    `${name}: ${typeof value === 'string' ? value : JSON.stringify(value)}`);
  return [said, ...fields].join('\n').trim();
}

function card(text, place, all) {
  const letter = LETTERS[place];
  const node = make('article', 'answer');
  const title = make('h2', '', say('answer', { letter }));
  title.id = 'answer-' + letter;
  node.setAttribute('aria-labelledby', title.id);
  const body = make('div', 'body');
  body.tabIndex = 0;
  body.setAttribute('role', 'region');
  body.setAttribute('aria-labelledby', title.id);
  body.append(...texts(text, now.answers_html[place]));
  const foot = make('div', 'foot');
  const better = (className, word, key, strength) => {
    const one = button('better ' + className, say(word, { letter }), key, 'better-' + place + strength, () => choose(place, strength));
    one.dataset.strength = strength;
    foot.append(one);
  };
  if (all.length === 2 && setup.strength) {
    better('', 'is_much_better', '\u21e7' + letter, 'much');
    better('slightly', 'is_slightly_better', letter, 'slightly');
  } else {
    better('', all.length === 1 ? 'good' : all.length === 2 ? 'is_better' : 'is_best', letter, '');
  }
  rows().forEach((row, index) => foot.append(rates(place, row, index)));
  node.append(title, body, foot);
  return node;
}

function rates(place, row, index) {
  const node = make('div', 'rates');
  const criterion = row || say('overall');
  node.setAttribute('role', 'group');
  node.setAttribute('aria-label', say('rate_answer', { letter: LETTERS[place], criterion }));
  const hint = make('span', 'hint', row || say('rate'));
  if (place === 0 && index === 0) hint.append(' ', make('kbd', '', 'R'));
  node.append(hint);
  for (let value = 1; value <= setup.scale; value++) {
    node.append(button('', String(value), '', `rate-${place}-${index}-${value}`, () => rate(place, row, value)));
  }
  return node;
}

// Shows ratings and the ranking as they stand.
function refresh() {
  const all = rows();
  document.querySelectorAll('.rates').forEach((node, number) => {
    const [place, row] = [Math.floor(number / all.length), all[number % all.length]];
    node.classList.toggle('next', number === rating);
    node.querySelectorAll('button').forEach((one, index) => {
      one.setAttribute('aria-pressed', String(ratings[row][place] === index + 1));
    });
  });
  document.querySelectorAll('.answer').forEach((node, place) => {
    const better = node.querySelector('.better');
    const rank = ranking ? ranking.indexOf(place) : -1;
    better.disabled = rank >= 0;
    if (now.task.answers.length > 2) {
      const word = !ranking ? 'is_best' : rank >= 0 ? 'is_ranked' : 'is_next';
      better.firstChild.textContent = say(word, { letter: LETTERS[place], rank: rank + 1 });
    }
  });
  $('rank').setAttribute('aria-pressed', String(ranking !== null));
  $('rated').hidden = all.every(row => ratings[row].every(value => value === null));
}

function choose(place, strength) {
  if (!ranking) return submit({ kind: 'best', answer: place }, strength);
  if (ranking.includes(place)) return;
  ranking.push(place);
  refresh();
  if (ranking.length === now.task.answers.length) submit({ kind: 'ranking', answers: ranking.slice() });
}

function rate(place, row, value) {
  ratings[row][place] = ratings[row][place] === value ? null : value;
  refresh();
}

function submit(verdict, strength) {
  const isGiven = row => ratings[row].some(value => value !== null);
  const label = { verdict, ratings: isGiven('') ? ratings[''] : [], comment: $('comment').value.trim() };
  const criteria = setup.criteria.filter(isGiven);
  if (criteria.length) label.criteria = Object.fromEntries(criteria.map(name => [name, ratings[name]]));
  if (strength) label.strength = strength;
  const item = now.task.item;
  if (now.back === null) ask('label', { item, label, seconds: (performance.now() - shownAt) / 1000 });
  else ask('revise', { item, label });
}

function earlier() {
  ask('own/' + ((now.back || 0) + 1));
}

function later() {
  ask(now.back > 1 ? 'own/' + (now.back - 1) : 'next');
}

function toggleRanking() {
  ranking = ranking ? null : [];
  refresh();
}

function nextRating() {
  rating = rating + 1 < now.task.answers.length * rows().length ? rating + 1 : -1;
  refresh();
}

function act(key, isShifted, target) {
  const labelling = !$('label').hidden;
  if (key === 'u' && !$('undo').disabled) return ask('undo', {});
  if (key === 'p' && !$('earlier').disabled) return earlier();
  if (key === '?' && !$('guide').hidden) return guidelines($('guidelines').hidden);
  if (!labelling) return false;
  const count = now.task.answers.length;
  const digit = /^[1-9]$/.test(key) ? Number(key) : 0;
  const letter = key.length === 1 ? LETTERS.toLowerCase().indexOf(key) : -1;
  const isPair = count === 2;
  const strength = isPair && setup.strength ? (isShifted ? 'much' : 'slightly') : '';
  if (rating >= 0 && digit) {
    if (digit > setup.scale) return false;
    ratings[rows()[rating % rows().length]][Math.floor(rating / rows().length)] = digit;
    return nextRating();
  }
  if (letter >= 0 && letter < count) return choose(letter, strength);
  if (digit && digit <= count && !strength) return choose(digit - 1, '');
  if (key === 'arrowleft' && isPair) return choose(0, strength);
  if (key === 'arrowright' && isPair) return choose(1, strength);
  if (key === 't' && count > 1) return submit({ kind: 'tie' });
  if (key === 'x') return submit({ kind: 'all_bad' });
  if (key === 's') return submit({ kind: 'skip' });
  if (key === 'k' && count > 2) return toggleRanking();
  if (key === 'r') return nextRating();
  if (key === 'n' && now.back !== null) return later();
  if (key === 'escape' && now.back !== null && rating < 0 && !ranking) return ask('next');
  if (key === 'escape') { rating = -1; ranking = null; return refresh(); }
  if (key === 'enter' && !$('rated').hidden && target === document.body) return submit({ kind: 'rated' });
  if (key === 'm') return $('comment').focus();
  return false;
}

document.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.matches('textarea, input, select')) {
    if (event.key === 'Escape') event.target.blur();
    return;
  }
  if (!$('shortcuts').checked) return;
  // Arrows scroll a text that has the focus.
  const scrolls = event.key.startsWith('Arrow') && event.target.matches('[tabindex="0"]');
  if (!scrolls && act(event.key.toLowerCase(), event.shiftKey, event.target) !== false) event.preventDefault();
});

$('tie').addEventListener('click', () => submit({ kind: 'tie' }));
$('bad').addEventListener('click', () => submit({ kind: 'all_bad' }));
$('skip').addEventListener('click', () => submit({ kind: 'skip' }));
$('rated').addEventListener('click', () => submit({ kind: 'rated' }));
$('rank').addEventListener('click', toggleRanking);
$('undo').addEventListener('click', () => ask('undo', {}));
$('earlier').addEventListener('click', earlier);
$('later').addEventListener('click', later);
$('return').addEventListener('click', () => ask('next'));
$('guide').addEventListener('click', () => guidelines($('guidelines').hidden));
$('close').addEventListener('click', () => { guidelines(false); $('guide').focus(); });
$('set').addEventListener('click', () => {
  $('settings').hidden = !$('settings').hidden;
  $('set').setAttribute('aria-expanded', String(!$('settings').hidden));
});
$('enter-form').addEventListener('submit', event => {
  event.preventDefault();
  enter($('token').value.trim().replace(/^.*#/, ''));
});

// What an annotator sets changes what is shown, and nothing of what was entered.
$('language').append(...Object.entries(WORDS).map(([tag, words]) => {
  const option = make('option', '', words.name);
  option.value = option.lang = tag;
  return option;
}));
$('language').value = language;
$('plain').checked = setting('plain', 'false') === 'true';
$('shortcuts').checked = setting('shortcuts', 'true') === 'true';
function applySettings() {
  language = $('language').value;
  translate();
  document.body.classList.toggle('without-shortcuts', !$('shortcuts').checked);
  if (now) $('count').textContent = say('count', { done: now.progress.done, all: now.progress.done + now.progress.left });
  if (now && now.task && setup) render();
}
for (const name of ['language', 'plain', 'shortcuts']) {
  $(name).addEventListener('change', () => {
    set(name, name === 'language' ? $(name).value : $(name).checked);
    applySettings();
    if (!$('counts').hidden) counts();
  });
}

// The part of a link after # is not sent anywhere; it is kept for this tab, and taken out of the address.
function enter(given) {
  token = given || sessionStorage.getItem('palestra-token') || document.querySelector('meta[name="palestra-key"]').content;
  if (given) sessionStorage.setItem('palestra-token', given);
  if (location.hash) history.replaceState(null, '', location.pathname);
  ask('next');
}
// A link that is opened where the page already is changes nothing but this part.
addEventListener('hashchange', () => { if (location.hash) enter(location.hash.slice(1)); });
