package report

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/twin/compare"
)

// browser is a Chromium of this machine; empty where there is none.
func browser() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// laid is what a browser says of a page.
type laid struct {
	Width, Scroll int      // of the window, and of what is laid out in it
	Beyond        []string // that reaches beyond the window and scrolls nowhere
	Small         []string // text smaller than 9 px
	Over          []string // text of a plot that lies over other text of it
	Pale          []string // text whose contrast is below 4.5 to 1 (WCAG 2.2, 1.4.3)
	Focus         int      // places that the keyboard reaches
	Back          int      // of them, how many lie above the one before
	Plots, Tables int
}

// measure runs outside of the pages, whose policy lets no script run: each is the document
// of a frame.
const measure = `
const channel = x => { x /= 255; return x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4 };
const light = c => { const [r, g, b] = c.match(/[\d.]+/g).map(Number); return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b) };
const said = e => e.tagName + ' ' + e.textContent.trim().slice(0, 40);
const look = frame => {
  const out = {Beyond: [], Small: [], Over: [], Pale: [], Focus: 0, Back: 0};
  const doc = frame.contentDocument, view = frame.contentWindow;
  const behind = e => { for (; e; e = e.parentElement) { const c = view.getComputedStyle(e).backgroundColor; if (!/, 0\)$/.test(c)) return c } return 'rgb(255, 255, 255)' };
  out.Width = view.innerWidth; out.Scroll = doc.documentElement.scrollWidth;
  for (const e of doc.querySelectorAll('main *')) {
    const box = e.getBoundingClientRect();
    if (box.width === 0 || box.height === 0) continue;
    if (!e.closest('.scroll') && (box.right > out.Width + 1 || box.left < -1)) out.Beyond.push(said(e));
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || e.tagName === 'title') continue;
    const style = view.getComputedStyle(e), svg = e.closest('svg');
    const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
    if (parseFloat(style.fontSize) * scale < 9) out.Small.push(said(e));
    const a = light(svg ? style.fill : style.color), b = light(behind(svg || e));
    if ((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5) out.Pale.push(said(e));
  }
  for (const svg of doc.querySelectorAll('svg')) {
    const texts = [...svg.querySelectorAll('text')].map(e => [e, e.getBoundingClientRect()]);
    for (let i = 0; i < texts.length; i++) for (let j = 0; j < i; j++) {
      const [e, a] = texts[i], [f, b] = texts[j];
      if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3) out.Over.push(said(f) + ' / ' + said(e));
    }
  }
  out.Plots = doc.querySelectorAll('svg[role=img][aria-label]').length;
  out.Tables = doc.querySelectorAll('table').length;
  let last = -1;
  for (const e of doc.querySelectorAll('a[href], button, input, select, [tabindex]')) {
    e.focus();
    const ring = view.getComputedStyle(e);
    if (doc.activeElement !== e || ring.outlineStyle === 'none' || parseFloat(ring.outlineWidth) < 2) continue;
    out.Focus++;
    const top = e.getBoundingClientRect().top + view.scrollY;
    if (top < last) out.Back++;
    last = top;
  }
  return out;
};
const frames = [...document.querySelectorAll('iframe')];
Promise.all(frames.map(f => new Promise(done => { f.onload = done; f.srcdoc = f.dataset.page }))).then(() => {
  const pre = document.createElement('pre');
  pre.id = 'result'; pre.textContent = JSON.stringify(frames.map(look));
  document.body.replaceChildren(pre);
});
`

// sheet is a page in a window of that width.
type sheet struct {
	page  []byte
	width int
}

// look lays pages out, all in one start of the browser, and tells what it found.
func look(t *testing.T, chromium string, sheets ...sheet) []laid {
	t.Helper()
	// Not t.TempDir, which fails when a process of the browser still writes into it.
	dir, err := os.MkdirTemp("", "sandgate-page-")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "look.html")
	var page strings.Builder
	page.WriteString(`<!DOCTYPE html><meta charset="utf-8"><body style="margin:0">`)
	for _, s := range sheets {
		fmt.Fprintf(&page, `<iframe style="border:0;width:%dpx;height:800px" data-page="%s"></iframe>`, s.width, html.EscapeString(string(s.page)))
	}
	page.WriteString("<script>" + measure + "</script>")
	if err := os.WriteFile(file, []byte(page.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	args := []string{"--headless", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-breakpad", "--host-resolver-rules=MAP * ~NOTFOUND", "--user-data-dir=" + filepath.Join(dir, "profile"), "--window-size=1400,1000", "--virtual-time-budget=5000", "--dump-dom", "file://" + file}
	if os.Geteuid() == 0 {
		args = append([]string{"--no-sandbox"}, args...) // it refuses to start as root otherwise; the pages are the test's own
	}
	var problems strings.Builder
	cmd := exec.CommandContext(ctx, chromium, args...)
	cmd.Stderr, cmd.WaitDelay = &problems, 5*time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	t.Cleanup(func() {
		if cmd.Process != nil {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it started
		}
		_ = os.RemoveAll(dir)
	})
	dom, err := cmd.Output()
	if err != nil {
		t.Fatalf("the browser failed: %v\n%s", err, problems.String())
	}
	_, rest, ok := strings.Cut(string(dom), `<pre id="result">`)
	text, _, also := strings.Cut(rest, "</pre>")
	if !ok || !also {
		t.Fatalf("the browser told nothing:\n%.2000s\n%s", dom, problems.String())
	}
	var out []laid
	if err := json.Unmarshal([]byte(html.UnescapeString(text)), &out); err != nil || len(out) != len(sheets) {
		t.Fatalf("%d of %d pages: %v", len(out), len(sheets), err)
	}
	return out
}

// compared is a comparison of everything that a page can show, in long words.
func compared() *compare.Report {
	r := &compare.Report{Format: compare.Format, Party: "an operator of a long name", At: 1_795_409_003_481}
	q := compare.Query{Name: "residents by district and household type", Job: "jobs/1", Known: true, Groups: compare.Groups{Both: 12, Data: 1}}
	for _, scale := range []float64{1, 1e-3, 1e7} {
		c := compare.Column{Name: fmt.Sprintf("a column at %g", scale), Cells: 12, Data: 500 * scale, Mean: compare.Range{Low: scale, About: 2 * scale, High: 3 * scale}, Worst: compare.Range{Low: scale, About: 2 * scale, High: 3 * scale}}
		for i := range 12 {
			v := scale * float64(100*i+17)
			c.Points = append(c.Points, compare.Point{Group: fmt.Sprintf("砂之东门新区第 %d 街道 · urban household with a long name", i), Data: compare.Cell{Value: v, Low: v - 9*scale, High: v + 9*scale}, Twin: compare.Cell{Value: v + scale, Low: v - 8*scale, High: v + 10*scale}})
		}
		q.Columns = append(q.Columns, c)
	}
	r.Queries = []compare.Query{q, {Name: "<b>refused", Job: "jobs/2", Refused: "TWIN_NONE"}}
	f := compare.Figure{Name: "auc", Data: compare.Cell{Value: 0.7, Low: 0.6, High: 0.8}, Twin: compare.Cell{Value: 0.72, Low: 0.6, High: 0.8}, Error: compare.Range{High: 0.2}}
	g := f
	g.Name, g.Group = "accuracy", "scheme=employee"
	r.Models = []compare.Model{{Product: "income", Model: "m", Data: "PASS", Twin: "PASS", Figures: []compare.Figure{f, g}, Agree: &compare.Agree{Rows: 20_000, Classes: true, Share: 9789}}, {Product: "other", Model: "n", Refused: "TWIN_STALE"}}
	return r
}

// In a real browser, at the widths of a telephone and of a desk, in both languages:
// nothing reaches beyond the window, no text is too small or pale to be read or lies over
// other text of a plot, and the keyboard reaches all that scrolls from top to bottom. The
// same measurements find each fault in a page that has it.
func TestPageInABrowser(t *testing.T) {
	chromium := browser()
	if chromium == "" {
		t.Skip("!! NO BROWSER: the page of a twin is not looked at in one; install: sudo apt-get install chromium")
	}
	p := Page{Twin: learn(t, "0.05"), Compared: compared(), Lines: []Line{{"部门", "department", "bureau"}}}
	var sheets []sheet
	for _, lang := range []string{"zh", "en"} {
		text, err := p.HTML(lang)
		if err != nil {
			t.Fatal(err)
		}
		if dir := os.Getenv("SANDGATE_PAGES"); dir != "" { // to be looked at by a person
			if err := os.WriteFile(filepath.Join(dir, "report-"+lang+".html"), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		sheets = append(sheets, sheet{text, 360}, sheet{text, 1280})
	}
	faulty := strings.NewReplacer("color:#595959", "color:#999999", "font:12px", "font:7px", `<h2>`, `<h2 style="width:900px">`, `text-anchor="middle"`, `text-anchor="middle" dx="40%"`, `tabindex="0"`, `tabindex="0" style="outline:none"`).Replace(string(sheets[0].page))
	faulty = strings.Replace(faulty, `<text x="30" y="64"`, `<text x="30" y="18"`, 1)
	all := look(t, chromium, append(sheets, sheet{[]byte(faulty), 360})...)
	for i, s := range sheets {
		got, text := all[i], string(s.page)
		if got.Width != s.width || got.Scroll > s.width || len(got.Beyond) > 0 || len(got.Small) > 0 || len(got.Over) > 0 || len(got.Pale) > 0 {
			t.Errorf("page %d at %d px: %+v", i, s.width, got)
		}
		if got.Back > 0 || got.Focus != strings.Count(text, `tabindex="0"`) || got.Plots != strings.Count(text, "<svg") || got.Plots < 7 || got.Tables < 8 {
			t.Errorf("page %d at %d px: %d places by keyboard, %d of them backwards, %d plots, %d tables", i, s.width, got.Focus, got.Back, got.Plots, got.Tables)
		}
	}
	if got := all[len(sheets)]; len(got.Beyond) == 0 || len(got.Small) == 0 || len(got.Over) == 0 || len(got.Pale) == 0 || got.Focus != 0 || got.Scroll <= 360 {
		t.Errorf("faults of a page go unseen: %d beyond, %d small, %d over, %d pale, %d in reach, %d wide", len(got.Beyond), len(got.Small), len(got.Over), len(got.Pale), got.Focus, got.Scroll)
	}
}
