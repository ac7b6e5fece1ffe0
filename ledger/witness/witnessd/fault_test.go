package witnessd

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/internal/durable"
)

var errFull = errors.New("no space left on device")

// once fails at a point, once.
func once(point string) (f durable.Fault, reached func() bool) {
	hit := false
	return func(p string) error {
		if p == point && !hit {
			hit = true
			return errFull
		}
		return nil
	}, func() bool { return hit }
}

// Every step by which a witness writes fails once: nothing is cosigned and no
// evidence counts as kept that is not on the disk, and after a restart it goes on.
func TestFaultAtEveryWriteOfAWitness(t *testing.T) {
	log := newHistory(t, "a")
	log.grow(t, 40, "first")
	other := newHistory(t, "a")
	other.grow(t, 10, "first")
	other.grow(t, 40, "second")
	for _, step := range []string{"witness.write", "witness.rename", "witness.syncdir", "witness.known.write", "witness.known.rename", "witness.known.syncdir",
		"alarm.write", "alarm.rename", "alarm.syncdir", "witness.event"} {
		for _, when := range []string{"before", "after"} {
			t.Run(step+"/"+when, func(t *testing.T) {
				fault, reached := once(step + "/" + when)
				added := strings.HasPrefix(step, "witness.known")
				h, dir, post := start(t)
				if added {
					h.fault = fault
				}
				if err := h.Add(origin, log.vkey); added != errors.Is(err, errFull) {
					t.Fatalf("added: %v", err)
				}
				if err := h.Add(origin, log.vkey); err != nil {
					t.Fatalf("added again: %v", err)
				}
				if resp, body := post(log.request(t, 0, 20)); resp.StatusCode != 200 {
					t.Fatal(body)
				}
				size := int64(20)
				if !added {
					if h.fault = fault; step == "witness.event" {
						durable.Inject(fault)
						defer durable.Inject(nil)
					}
				}
				switch {
				case strings.HasPrefix(step, "alarm"):
					resp, body := post(other.request(t, 20, 20))
					if resp.StatusCode != 500 || strings.Contains(body, "—") {
						t.Errorf("%d %q", resp.StatusCode, body)
					}
				case step == "witness.event":
					if resp, body := post(other.request(t, 20, 20)); resp.StatusCode != 409 || strings.Contains(body, "—") {
						t.Errorf("%d %q", resp.StatusCode, body)
					}
				case !added:
					if resp, body := post(log.request(t, 20, 30)); resp.StatusCode != 500 || strings.Contains(body, "—") {
						t.Errorf("%d %q", resp.StatusCode, body)
					}
				}
				if !reached() {
					t.Fatal("never reached")
				}
				durable.Inject(nil)
				h.Close()
				again, err := Open(dir)
				if err != nil {
					t.Fatal(err)
				}
				defer again.Close()
				now := again.Logs()[0].Size
				if now != size && (now != 30 || !strings.HasPrefix(step, "witness.")) {
					t.Errorf("stands at %d", now)
				}
				if v, _, err := again.answer(log.request(t, now, 40)); err != nil || v.Status != 200 {
					t.Errorf("does not go on: %+v %v", v, err)
				}
				if v, text, err := again.answer(other.request(t, 40, 40)); err != nil || v.Status != 409 || strings.Contains(string(text), "—") {
					t.Errorf("another history: %+v %v", v, err)
				}
				if shown, err := Show(dir, 10); err != nil || len(shown.Alarms) == 0 {
					t.Errorf("no evidence: %+v %v", shown, err)
				}
			})
		}
	}
}

// A witness whose key could not be written is none, says so, and can be made anew.
func TestFaultWhileAWitnessIsMade(t *testing.T) {
	for _, when := range []string{"before", "after"} {
		fault, reached := once("witness.key/" + when)
		durable.Inject(fault)
		defer durable.Inject(nil)
		dir := filepath.Join(t.TempDir(), "witness")
		if err := Create(dir, "regulator.example/witness"); !errors.Is(err, errFull) || !reached() {
			t.Fatalf("%s: %v", when, err)
		}
		if h, err := Open(dir); err == nil {
			if h.Close(); when == "before" {
				t.Errorf("%s: a witness without a key serves", when)
			}
		}
		if err := Create(dir, "regulator.example/witness"); err == nil {
			t.Errorf("%s: made over what is there", when)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := Create(dir, "regulator.example/witness"); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
}
