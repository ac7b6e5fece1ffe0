package accesslog

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 2, 4, 0, 0, 0, time.UTC) // in Beijing

func add(t *testing.T, l *Log, at time.Time, method string) {
	t.Helper()
	if err := l.Add(Line{At: at, Party: "alpha", Method: method, Code: "OK", Peer: "10.0.0.5"}); err != nil {
		t.Fatal(err)
	}
}

func headOf(t *testing.T, l *Log) string {
	t.Helper()
	h, err := l.Head()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func open(t *testing.T, dir string) *Log {
	t.Helper()
	l, err := Open(dir, LeastMonths)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// write makes three days of log, restarting in between, and returns the heads that
// a ledger would hold.
func write(t *testing.T) (string, []Beat) {
	dir := filepath.Join(t.TempDir(), "access")
	var beats []Beat
	for day := range 3 {
		l := open(t, dir)
		for hour := range 3 {
			at := noon.AddDate(0, 0, day).Add(time.Duration(hour) * time.Hour)
			beats = append(beats, Beat{at, headOf(t, l)})
			add(t, l, at, "/svc/Submit")
			add(t, l, at.Add(time.Second), "/svc/Get")
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return dir, beats
}

func TestR29_AnIntactAccessLogFits(t *testing.T) {
	dir, beats := write(t)
	got, err := Check(dir, beats)
	if err != nil || got.Lines != 18 || got.First != "2026-03-02" || len(got.Unfound)+len(got.Broken) != 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	// The last head stands before the last two lines.
	if got.Vouched != 16 {
		t.Errorf("%d lines are vouched for", got.Vouched)
	}
	if beats[0].Head != "" {
		t.Error("an empty log has a head")
	}
}

// Every way to change what a heartbeat vouches for shows.
func TestR29_AChangedAccessLogIsFound(t *testing.T) {
	edit := func(day string, change func(lines []string) []string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			raw, err := os.ReadFile(path(dir, day))
			if err != nil {
				t.Fatal(err)
			}
			out := strings.Join(change(strings.SplitAfter(string(raw), "\n")), "")
			if err := os.WriteFile(path(dir, day), []byte(out), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, tamper := range map[string]func(*testing.T, string){
		"a party exchanged": edit("2026-03-03", func(l []string) []string { l[2] = strings.Replace(l[2], "alpha", "gamma", 1); return l }),
		"a line removed":    edit("2026-03-03", func(l []string) []string { return append(l[:2], l[3:]...) }),
		"a line added":      edit("2026-03-03", func(l []string) []string { return append(l[:2], append([]string{l[2]}, l[2:]...)...) }),
		"lines swapped":     edit("2026-03-03", func(l []string) []string { l[1], l[2] = l[2], l[1]; return l }),
		"a tail cut off":    edit("2026-03-02", func(l []string) []string { return l[:3] }),
		"another start":     edit("2026-03-03", func(l []string) []string { l[0] = strings.Replace(l[0], `"previous":"`, `"previous":"00`, 1); return l }),
		"a field added": edit("2026-03-04", func(l []string) []string {
			l[1] = strings.Replace(l[1], `{`, `{"x":1,`, 1)
			return l
		}),
		"a day under the name of the one before": func(t *testing.T, dir string) {
			if err := os.Rename(path(dir, "2026-03-02"), path(dir, "2026-03-01")); err != nil {
				t.Fatal(err)
			}
		},
		"a day removed": func(t *testing.T, dir string) {
			if err := os.Remove(path(dir, "2026-03-03")); err != nil {
				t.Fatal(err)
			}
		},
		"everything removed": func(t *testing.T, dir string) {
			for _, d := range []string{"2026-03-02", "2026-03-03", "2026-03-04"} {
				if err := os.Remove(path(dir, d)); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, beats := write(t)
			tamper(t, dir)
			got, err := Check(dir, beats)
			if err == nil && len(got.Unfound)+len(got.Broken) == 0 {
				t.Errorf("not found: %+v", got)
			}
		})
	}
}

// A crash cuts the last line short; the log goes on from the last whole one.
func TestACutLineIsRemoved(t *testing.T) {
	dir, beats := write(t)
	last := path(dir, "2026-03-04")
	f, err := os.OpenFile(last, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"at":"2026-`); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	l := open(t, dir)
	at := noon.AddDate(0, 0, 2).Add(5 * time.Hour)
	add(t, l, at, "/svc/Get")
	beats = append(beats, Beat{at, headOf(t, l)})
	if got, err := Check(dir, beats); err != nil || got.Lines != 19 || len(got.Unfound)+len(got.Broken) != 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	// Cut within the very first line of a day.
	if err := os.WriteFile(path(dir, "2026-03-05"), []byte(`{"v":1,"prev`), 0o600); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir)
	add(t, l, noon.AddDate(0, 0, 3), "/svc/Get")
	beats = append(beats, Beat{noon.AddDate(0, 0, 3), headOf(t, l)})
	if got, err := Check(dir, beats); err != nil || len(got.Unfound)+len(got.Broken) != 0 {
		t.Fatalf("%+v, %v", got, err)
	}
}

// Old files go when a day begins, never one that the law wants kept; a clock set
// back writes into the latest day.
func TestR34_FilesAreKeptForMonths(t *testing.T) {
	if _, err := Open(t.TempDir(), LeastMonths-1); err == nil {
		t.Error("less than the least is accepted")
	}
	dir, beats := write(t)
	l := open(t, dir)
	at := noon.AddDate(0, LeastMonths, 1) // the first day is older than six months, the second is not
	add(t, l, at, "/svc/Get")
	beats = append(beats, Beat{at, headOf(t, l)})
	got, err := Check(dir, beats)
	if err != nil || got.First != "2026-03-03" || len(got.Unfound)+len(got.Broken) != 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	add(t, l, noon, "/svc/Late")
	beats = append(beats, Beat{at, headOf(t, l)})
	if got, err = Check(dir, beats); err != nil || got.First != "2026-03-03" || len(got.Unfound)+len(got.Broken) != 0 {
		t.Fatalf("after the clock was set back: %+v, %v", got, err)
	}
}

// FuzzRead holds that no file makes the reader panic or grow without bound.
func FuzzRead(f *testing.F) {
	f.Add([]byte("{\"v\":1,\"previous\":\"" + strings.Repeat("00", 32) + "\"}\n{\"at\":\"2026-03-02T04:00:00Z\",\"method\":\"m\",\"code\":\"OK\"}\n"))
	f.Add([]byte("{\"v\":1}\n"))
	f.Add([]byte(strings.Repeat("x", 3*MaxLine)))
	f.Fuzz(func(t *testing.T, text []byte) {
		name := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, whole, err := read(name, nil); err == nil && whole > int64(len(text)) {
			t.Fatalf("%d bytes of %d", whole, len(text))
		}
	})
}
