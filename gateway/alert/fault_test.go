package alert

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/internal/durable"
	"github.com/sandgate/sandgate/ledger/state"
)

// R33: every step of the journal and of the mail fails once. The journal opens again,
// what it noted is not delivered again, what it did not is, under the same id; in the
// box is never half a message.
func TestR33_FaultOfTheJournal(t *testing.T) {
	full := errors.New("no space left on device")
	for _, step := range []string{"alert.write", "alert.sync", "alert.mend", "mail.write", "mail.rename", "mail.syncdir"} {
		for _, when := range []string{"before", "after"} {
			t.Run(step+"/"+when, func(t *testing.T) {
				dir, box := t.TempDir(), filepath.Join(t.TempDir(), "mail")
				c := Config{Rules: state.DefaultAlertRules, Mail: &Mail{Dir: box, From: "sandgate@example.gov.cn", To: []string{"a@example.gov.cn"}}}
				hit := false
				defer durable.Inject(nil)
				arm := func() {
					durable.Inject(func(p string) error {
						if p == step+"/"+when && !hit {
							hit = true
							return full
						}
						return nil
					})
				}
				opened := func() (*Dispatcher, error) {
					return Open(c, dir, "sandgate.test/city", slog.New(slog.DiscardHandler))
				}
				if step == "alert.mend" {
					arm()
					if _, err := opened(); !errors.Is(err, full) {
						t.Fatalf("opened: %v", err)
					}
				}
				d, err := opened()
				if err != nil {
					t.Fatal(err)
				}
				if arm(); step == "alert.mend" {
					durable.Inject(nil)
				}
				told := 0
				give := func(n int) {
					a := warning(n)
					if d.done.has("mail", a.ID) {
						return
					}
					err := d.lanes[0].sink.deliver(t.Context(), eventID(d.origin, a.ID), a)
					if err == nil {
						err = d.done.add("mail", a.ID)
					}
					if errors.Is(err, full) {
						told++
					} else if err != nil {
						t.Fatal(err)
					}
				}
				for n := range 4 {
					give(n)
				}
				if durable.Inject(nil); !hit || step != "alert.mend" && told != 1 {
					t.Fatalf("reached %v, told %d times", hit, told)
				}
				if err := d.done.close(); err != nil {
					t.Fatal(err)
				}
				if d, err = opened(); err != nil {
					t.Fatalf("after a restart: %v", err)
				}
				noted := len(d.done.ids)
				for n := range 5 {
					give(n)
				}
				if noted < 3 || len(d.done.ids) != 5 {
					t.Errorf("%d noted before, %d now", noted, len(d.done.ids))
				}
				files, err := os.ReadDir(box)
				if err != nil || len(files) != 5 {
					t.Errorf("%d messages, %v", len(files), err)
				}
				for _, f := range files {
					if text, err := os.ReadFile(filepath.Join(box, f.Name())); err != nil || !strings.HasSuffix(string(text), "\r\n") || !strings.HasSuffix(f.Name(), ".eml") {
						t.Errorf("%s: %v", f.Name(), err)
					}
				}
			})
		}
	}
}
