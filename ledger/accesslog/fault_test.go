package accesslog

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/sandgate/sandgate/internal/durable"
)

// A line, the first line of a day, a sync, a repair and the removal of an old day
// each fail once, before they are done and after, with half a line on the disk too:
// the error is told, and the heads of all heartbeats fit the files, before a restart
// and after it.
func TestFaultAtEveryStepOfTheLog(t *testing.T) {
	full := errors.New("no space left on device")
	for _, step := range []string{"access.write", "access.head", "access.sync", "access.mend", "access.torn", "access.expire"} {
		for _, when := range []string{"before", "after"} {
			t.Run(step+"/"+when, func(t *testing.T) {
				dir := t.TempDir()
				at, told := noon, 0
				var l *Log
				var beats []Beat
				line := func() {
					t.Helper()
					at = at.Add(time.Minute)
					if err := l.Add(Line{At: at, Party: "alpha", Method: "/svc/Get", Code: "OK"}); errors.Is(err, full) {
						told++
					} else if err != nil {
						t.Fatal(err)
					}
				}
				beat := func() {
					t.Helper()
					switch h, err := l.Head(); {
					case errors.Is(err, full):
						told++
					case err != nil:
						t.Fatal(err)
					default:
						beats = append(beats, Beat{at, h})
					}
				}
				l = open(t, dir)
				line()
				beat()
				armed := step + "/" + when
				durable.Inject(func(point string) error {
					switch {
					case point != armed && (step != "access.mend" || point != "access.write/after"):
						return nil
					case step == "access.mend" && point != armed && told > 0:
						return nil
					case point == armed:
						armed = ""
					}
					return full
				})
				defer durable.Inject(nil)
				if step == "access.torn" {
					if err := l.Close(); err != nil {
						t.Fatal(err)
					}
					put(t, path(dir, "2026-03-05"), `{"v":1,"pre`)
					if _, err := Open(dir, LeastMonths); !errors.Is(err, full) {
						t.Fatalf("opened: %v", err)
					}
					told++
					l = open(t, dir)
				}
				line()
				line()
				beat()
				beat()
				at = at.AddDate(0, LeastMonths+2, 0) // another day, long after
				for range 3 {
					line()
					beat()
				}
				if armed != "" || told == 0 {
					t.Fatalf("left %q, told %d times", armed, told)
				}
				durable.Inject(nil)
				for range 2 {
					if got, err := Check(dir, beats); err != nil || len(got.Unfound)+len(got.Broken) > 0 {
						t.Fatalf("%+v, %v", got, err)
					}
					if err := l.Close(); err != nil {
						t.Fatal(err)
					}
					l = open(t, dir)
					line()
					beat()
				}
			})
		}
	}
}

// Control: half a line that stays makes one with the next, and no head fits.
func TestHalfALineIsNoticed(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	add(t, l, noon, "/svc/Get")
	put(t, path(dir, "2026-03-02"), `{"at":"2026-`)
	add(t, l, noon.Add(time.Second), "/svc/Get")
	beats := []Beat{{noon.Add(time.Minute), headOf(t, l)}}
	if got, err := Check(dir, beats); err == nil && len(got.Unfound)+len(got.Broken) == 0 {
		t.Errorf("%+v", got)
	}
}

func put(t *testing.T, name, text string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}
