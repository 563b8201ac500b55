// Runs the suite against a cache, as the suite's own command line does, and prints a verdict for each of its tests.
// node suite.mjs SUITE_FOLDER BASE_URL [TEST_ID]
// With a test's id, what client and origin sent is printed instead.
import { createRequire } from 'node:module'
import path from 'node:path'

const [folder, base, only] = process.argv.slice(2)
const load = file => import(path.join(folder, file))
const fetch = createRequire(path.join(folder, 'cli.mjs'))('node-fetch')
const { runTests, getResults } = await load('client/runner.mjs')
const { determineTestResult } = await load('lib/display.mjs')
const suites = [...(await load('tests/index.mjs')).default, (await load('tests/surrogate-control.mjs')).default]

const WORDS = {
  '✅': 'pass',
  '⛔️': 'fail',
  '⚠️': 'not optimal',
  Y: 'yes',
  N: 'no',
  '🔹': 'setup failed',
  '⁉️': 'harness failed',
  '⚪️': 'dependency failed',
  '↻': 'retried',
  '-': 'untested'
}

const chosen = suites
  .map(suite => ({ ...suite, tests: suite.tests.filter(test => !only || test.id === only) }))
  .filter(suite => suite.tests.length > 0)
if (only) chosen.forEach(suite => suite.tests.forEach(test => { test.dump = true }))

await runTests(chosen, fetch, false, base)
const results = getResults()
const verdicts = chosen.flatMap(suite => suite.tests
  .filter(test => test.id in results)
  .map(test => ({
    category: suite.name,
    id: test.id,
    name: test.name,
    kind: test.kind ?? 'required',
    verdict: WORDS[determineTestResult(suites, test.id, results, !only)[2]],
    detail: results[test.id] === true ? '' : results[test.id].join(': ')
  })))
const said = only ? `${verdicts[0].verdict} ${verdicts[0].detail}\n` : JSON.stringify(verdicts)
process.stdout.write(said, () => process.exit(0)) // connections of a test that failed may still be open
