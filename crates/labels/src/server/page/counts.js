// Counts, agreement and exports, for admins.
const MOST_DISPUTED = 20;

function cell(value) {
  if (value === null || value === undefined) return '\u2013';
  return typeof value === 'number' ? String(Math.round(value * 1000) / 1000) : value;
}

function percent(share) {
  return share === null ? '\u2013' : (100 * share).toFixed(1) + ' %';
}

function range([low, high], shown) {
  return shown(low) + ' \u2013 ' + shown(high);
}

function table(title, head, rows) {
  const node = make('table');
  const [top, body] = [make('thead'), make('tbody')];
  const line = make('tr');
  line.append(...head.map(text => {
    const node = make('th', '', text);
    node.scope = 'col';
    return node;
  }));
  top.append(line);
  body.append(...rows.map(cells => {
    const row = make('tr');
    row.append(...cells.map(value => make('td', '', cell(value))));
    return row;
  }));
  node.append(top, body);
  const scroll = make('div', 'scroll');
  scroll.tabIndex = 0;
  scroll.setAttribute('role', 'region');
  scroll.setAttribute('aria-label', title);
  scroll.append(node);
  return [make('h3', '', title), scroll];
}

function matrix(policies, matches) {
  const names = policies.map(one => one.name);
  const found = (first, second) => matches.find(one => one.first === first && one.second === second);
  const shown = (first, second) => {
    const one = found(first, second);
    return one ? percent(one.share) + ' (' + range(one.interval, share => Math.round(100 * share)) + ')' : null;
  };
  return table(say('matrix'), [say('policy'), ...names], names.map(first => [first, ...names.map(second => shown(first, second))]));
}

function tables(of) {
  const agreed = (who, one) => [who, percent(one.share), one.kappa, one.items];
  const halves = (one, key, shown) => one.halves.map(half => (half[key] === null ? '\u2013' : shown(half[key]))).join(', ');
  const seconds = value => String(Math.round(value * 10) / 10);
  const all = [
    table(say('labels'), [say('items'), say('finished', { overlap: of.overlap }), say('checks'), say('labels')],
      [[of.items, of.finished, of.gold, of.labels]]),
    table(say('people'), ['person', 'labels', 'skipped', 'seconds', 'halves', 'agreement', 'agreement_halves', 'shown_first', 'checks_right'].map(word => say(word)),
      of.annotators.map(one => [one.name, one.labels, one.skips, one.seconds, halves(one, 'seconds', seconds), percent(one.agreement),
        halves(one, 'agreement', percent), percent(one.first_share), say('of', { part: one.gold_right, all: one.gold })])),
    table(say('verdicts'), [say('verdict'), say('labels'), say('share')],
      Object.entries(of.verdicts).map(([name, count]) => [say('verdict_' + name), count, percent(of.labels ? count / of.labels : null)])),
  ];
  if (of.agreement) {
    all.push(table(say('agreement'), [say('people'), say('same_choice'), say('kappa'), say('items')],
      [agreed(say('everybody'), of.agreement), ...of.pairs.map(one => agreed(one.first + ', ' + one.second, one))]));
  }
  if (of.ratings.length) {
    all.push(table(say('ratings'), [say('criterion'), say('difference'), say('alpha'), say('answers')],
      of.ratings.map(one => [one.criterion || say('overall'), one.difference, one.alpha, one.answers])));
  }
  if (of.policies.length) {
    all.push(table(say('policies'), [say('policy'), say('wins'), say('interval'), say('elo'), say('interval')],
      of.policies.map(one => [one.name, percent(one.share), range(one.interval, percent), one.elo && Math.round(one.elo.score),
        one.elo && range(one.elo.interval, Math.round)])));
    all.push(matrix(of.policies, of.matches));
  }
  if (of.disputed.length) {
    all.push(table(say('disputed'), [say('item'), say('prompt'), say('votes')], of.disputed.slice(0, MOST_DISPUTED).map(one =>
      [one.item, one.prompt, Object.entries(one.votes).map(([choice, count]) => choice + ': ' + count).join(', ')])));
  }
  return all.flat();
}

async function counts() {
  try {
    $('tables').replaceChildren(...tables(await (await call('summary')).json()));
    notice('');
    view('counts');
  } catch (error) {
    notice(error.message, true);
  }
}

$('admin').addEventListener('click', counts);
$('back').addEventListener('click', () => ask('next'));
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
    notice(error.message, true);
  }
});

applySettings();
enter(location.hash.slice(1));
