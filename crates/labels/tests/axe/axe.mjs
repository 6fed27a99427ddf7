// Accessibility of the labeling page, by axe-core in a headless browser: every view, in both languages, light and dark, on a
// desktop and a phone. Fails with the list of violations. Screenshots go into SCREENSHOTS, if it is set.
//
//   cd crates/labels/tests/axe && npm install
//   BROWSER=/usr/bin/chromium node axe.mjs ../../../../target/release/palestra
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import puppeteer from 'puppeteer-core';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
const program = resolve(process.argv[2] || 'target/release/palestra');
const pictures = process.env.SCREENSHOTS;

const LONG = `Light from the sun holds **all colours**. Air scatters short waves more than long ones, by the law of *Rayleigh*:

$$I \\propto \\frac{1}{\\lambda^4}$$

| colour | wavelength | relative |
|---|---|---|
| red | 700 nm | 1 |
| blue | 450 nm | \\(5.9\\) |

\`\`\`python
def scattered(wavelength):
    return (700 / wavelength) ** 4
\`\`\`

# In short
1. Blue is scattered most.
2. So the sky is blue.`;
const ITEMS = [
  { prompt: [{ role: 'system', content: 'Be brief.' }, { role: 'user', content: 'Hi' }], completions: ['yes', 'no'], policies: ['new', 'old'] },
  { prompt: 'Why is the sky blue?\n\nExplain it to a child.', completions: [LONG, 'Because it mirrors the <b>sea</b>. ![no](http://example.org/a.png)'], policies: ['new', 'old'] },
  { prompt: 'كم عدد الألوان؟', completions: ['سبعة ألوان', 'ثلاثة'], policies: ['new', 'old'] },
  { prompt: 'Which of three?', completions: ['one', 'two', 'three'], policies: ['new', 'old', 'older'] },
  { prompt: 'How good is this?', completion: 'a single answer' },
];
const GUIDELINES = '# What is better\n\nPrefer the answer that is **true**, then the one that is *short*.\n\n- No invented facts\n- No praise\n';

const folder = mkdtempSync(join(tmpdir(), 'palestra-axe-'));
const violations = [];

async function check(page, name) {
  if (pictures) await page.screenshot({ path: join(pictures, name + '.png') });
  await page.evaluate(AXE);
  const found = await page.evaluate(tags => axe.run(document, { runOnly: { type: 'tag', values: tags } }), TAGS);
  for (const { id, help, nodes } of found.violations) violations.push(`${name}: ${id}: ${help}: ${nodes.map(node => node.html.slice(0, 120)).join(' | ')}`);
  const width = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  if (width[0] > width[1]) violations.push(`${name}: ${width[0]} px wide in a window of ${width[1]} px`);
  console.log(`${name}: ${found.violations.length} violations, ${found.passes.length} rules passed`);
}

async function views(page, name) {
  const click = async id => { await page.evaluate(id => document.getElementById(id).click(), id); };
  const shown = id => page.waitForFunction(id => !document.getElementById(id).hidden, {}, id);
  await shown('label');
  await check(page, name + '-label');
  await page.evaluate(() => document.querySelector('#verdicts').scrollIntoView(false));
  if (pictures) await page.screenshot({ path: join(pictures, name + '-below.png') });
  await click('set');
  await click('plain');
  await check(page, name + '-plain');
  await click('plain');
  await click('set');
  await click('close');
  await click('earlier');
  await shown('revising');
  await check(page, name + '-earlier');
  await click('return');
  await page.waitForFunction(() => document.getElementById('revising').hidden);
  await click('admin');
  await shown('counts');
  await check(page, name + '-counts');
  await click('back');
  await shown('label');
}

async function main() {
  if (pictures) mkdirSync(pictures, { recursive: true });
  writeFileSync(join(folder, 'items.jsonl'), ITEMS.map(item => JSON.stringify(item)).join('\n') + '\n');
  writeFileSync(join(folder, 'guidelines.md'), GUIDELINES);
  const run = (args, input) => execFileSync(program, args, { cwd: folder, input, stdio: ['pipe', 'ignore', 'inherit'] });
  run(['label', 'add', 'labels.db', 'items.jsonl', '--overlap', '3']);
  run(['label', 'labels.db', '--name', 'ben'], 'r 4 2\na\nb\nx\nbca\nr 4\n');
  run(['label', 'labels.db', '--name', 'cyd'], 'r 5 1\nb\nb\nx\nabc\nr 2\n');
  const options = ['--guidelines', 'guidelines.md', '--criterion', 'helpful', '--criterion', 'true', '--strength', '--language', 'en'];
  const server = spawn(program, ['label', 'serve', 'labels.db', '--address', '127.0.0.1:0', '--json', '--name', 'ada', ...options], { cwd: folder });
  const browser = await puppeteer.launch({ executablePath: process.env.BROWSER || '/usr/bin/chromium', args: ['--no-sandbox'] });
  try {
    const [line] = await new Promise((found, failed) => {
      createInterface({ input: server.stdout }).once('line', line => found([line]));
      server.once('exit', code => failed(new Error('the server ended with ' + code)));
    });
    const { address } = JSON.parse(line);
    const page = await browser.newPage();
    const outside = [];
    page.on('request', request => { if (!request.url().startsWith(address) && !/^(data|blob):/.test(request.url())) outside.push(request.url()); });
    page.on('pageerror', error => violations.push('script: ' + error.message));
    // One label, so that there is an earlier one to look at.
    await page.goto(address);
    await page.waitForFunction(() => !document.getElementById('label').hidden);
    await page.keyboard.press('r');
    await page.keyboard.press('4');
    await page.keyboard.press('Escape');
    await page.keyboard.press('s');
    await page.waitForFunction(() => document.getElementById('count').textContent.startsWith('1 '));
    for (const language of ['en', 'es']) {
      for (const scheme of ['light', 'dark']) {
        for (const [device, width, height] of [['desktop', 1280, 800], ['phone', 390, 844]]) {
          await page.setViewport({ width, height, isMobile: device === 'phone', hasTouch: device === 'phone' });
          await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
          await page.evaluate(language => { localStorage.setItem('palestra-language', language); localStorage.removeItem('palestra-guidelines-read'); }, language);
          await page.goto(address);
          await views(page, `${device}-${scheme}-${language}`);
        }
      }
    }
    await page.goto(address + '#00000000000000000000000000000000');
    await page.waitForFunction(() => !document.getElementById('enter').hidden);
    await check(page, 'enter');
    for (const url of outside) violations.push('a request to ' + url);
  } finally {
    await browser.close();
    server.kill();
    rmSync(folder, { recursive: true });
  }
}

await main();
if (violations.length) {
  console.error(violations.join('\n'));
  process.exit(1);
}
console.log('no violations');
