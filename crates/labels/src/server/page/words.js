'use strict';
// The words of the page in each language, and what the annotator set: kept in this browser.
const $ = id => document.getElementById(id);
const WORDS = JSON.parse($('words').textContent);

function setting(name, otherwise) {
  return localStorage.getItem('palestra-' + name) ?? otherwise;
}

function set(name, value) {
  localStorage.setItem('palestra-' + name, value);
}

const preferred = navigator.languages.map(tag => tag.slice(0, 2)).find(tag => WORDS[tag]);
let language = setting('language', preferred);
if (!WORDS[language]) language = 'en';

// A word or sentence, with its {names} filled in.
function say(name, values = {}) {
  return WORDS[language][name].replace(/\{(\w+)\}/g, (_, value) => values[value]);
}

// Puts the words into the parts of the page that stay.
function translate() {
  document.documentElement.lang = language;
  document.title = say('page_title');
  for (const node of document.querySelectorAll('[data-word]')) node.textContent = say(node.dataset.word);
  for (const node of document.querySelectorAll('[data-label]')) node.setAttribute('aria-label', say(node.dataset.label));
  for (const node of document.querySelectorAll('[data-placeholder]')) node.placeholder = say(node.dataset.placeholder);
}

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

// The focus name finds the button that takes its place when the page shows another item.
function button(className, text, key, focus, act) {
  const node = make('button', className);
  node.append(make('span', '', text));
  node.type = 'button';
  node.dataset.focus = focus;
  if (key) node.append(' ', make('kbd', '', key));
  node.addEventListener('click', act);
  return node;
}
