package engine

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
)

// declaredStore has a volume whose encryption is only declared, whatever file
// system the test's directory is on.
func declaredStore(t testing.TB, dir string, confined func(string) bool) (*Store, *Volume) {
	opt := testOptions
	opt.Volume, opt.Confined = diskless(t), confined
	opt.Volume.kind = "declared:test"
	return openTestStore(t, dir, opt), opt.Volume
}

// TestR16R34_ConfinedDataStaysOffADeclaredVolume: what is confined is held in
// memory or refused, while others make room for it; a volume that this host knows
// to be encrypted takes it.
func TestR16R34_ConfinedDataStaysOffADeclaredVolume(t *testing.T) {
	dir := t.TempDir()
	s, v := declaredStore(t, dir, func(dataset string) bool { return strings.HasPrefix(dataset, "secret") })
	secret := put(t, s, "secret", bytes.Repeat([]byte("s"), testMemory/2))
	open := put(t, s, "open", bytes.Repeat([]byte("o"), testMemory/4*3))
	tooLarge := put(t, s, "secret2", bytes.Repeat([]byte("t"), testMemory*2))

	l := lease(t, s, open.Snapshot, secret.Snapshot)
	got, err := contents(l)
	if err != nil || got[0][0] != 'o' || got[1][0] != 's' {
		t.Fatalf("%v", err)
	}
	if _, ok := s.memory.held[secret.Snapshot]; !ok || len(v.shelf.held) != 1 || v.shelf.held[open.Snapshot] == nil {
		t.Errorf("%d snapshots on the volume, the confined one in memory: %v", len(v.shelf.held), ok)
	}
	l.Release()

	for name, try := range map[string]func() error{
		"lease": func() error { _, err := s.Lease(context.Background(), []string{tooLarge.Snapshot}); return err },
		"fits":  func() error { return s.Fits([]string{tooLarge.Snapshot}) },
		"spool": func() error {
			a := &account{memory: s.memory, kept: "secret"}
			defer a.end()
			_, err := a.spool(bytes.NewReader(make([]byte, 2*testMemory)))
			return err
		},
	} {
		var no *Confined
		if err := try(); !errors.As(err, &no) || !strings.HasPrefix(no.Dataset, "secret") || no.Need <= testMemory || no.Limit != testMemory {
			t.Errorf("%s: %v", name, err)
		}
	}
	if v.shelf.held[tooLarge.Snapshot] != nil {
		t.Error("the confined snapshot is on the volume")
	}
	// Not confined: another data set, and the same one on a volume known to be
	// encrypted.
	if err := opens(s, open.Snapshot); err != nil {
		t.Error(err)
	}
	v.kind = KindDMCrypt
	if err := opens(s, tooLarge.Snapshot); err != nil {
		t.Errorf("on dm-crypt: %v", err)
	}
}

// TestR16R34_RaisedLevelLeavesTheVolume: a copy that was opened on the volume
// before the level was raised is let go of: at once where nobody reads it, else when
// the job ends.
func TestR16R34_RaisedLevelLeavesTheVolume(t *testing.T) {
	raised := false
	s, v := declaredStore(t, t.TempDir(), func(string) bool { return raised })
	m := put(t, s, "a", make([]byte, 2*testMemory))
	if err := opens(s, m.Snapshot); err != nil || len(v.shelf.held) != 1 {
		t.Fatalf("%d on the volume, %v", len(v.shelf.held), err)
	}
	s.Evacuate()
	if len(v.shelf.held) != 1 {
		t.Fatal("an allowed copy was let go of")
	}
	l := lease(t, s, m.Snapshot)
	if _, _, err := l.Open(); err != nil {
		t.Fatal(err)
	}
	raised = true
	s.Evacuate()
	if len(v.shelf.held) != 1 {
		t.Fatal("a copy was taken from a running job")
	}
	l.Release()
	if len(v.shelf.held) != 0 {
		t.Error("the copy stayed when the job had ended")
	}
	raised = false
	if err := opens(s, m.Snapshot); err != nil {
		t.Fatal(err)
	}
	raised = true
	s.Evacuate()
	if len(v.shelf.held) != 0 {
		t.Error("the copy stayed though nobody reads it")
	}
}
