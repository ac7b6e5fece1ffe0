package sealed

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
)

// R36: a wrapped key opens with its own storage key in its own place, and nowhere
// else.
func TestR36_WrappedKeys(t *testing.T) {
	ctx := context.Background()
	one, two := bytes.Repeat([]byte{1}, KeySize), bytes.Repeat([]byte{2}, KeySize)
	local := func(keys ...[]byte) *Local {
		l, err := NewLocal(keys...)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	key, err := NewDataKey()
	if err != nil {
		t.Fatal(err)
	}
	old := local(one)
	text, err := old.Wrap(ctx, "snapshot/a", key)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text, string(key)) || !strings.HasPrefix(text, old.ID()+":") {
		t.Errorf("wrapped key reads %q", text)
	}
	again, _ := old.Wrap(ctx, "snapshot/a", key)
	if again == text {
		t.Error("two wrappings of one key are equal: their nonce is")
	}
	flipped := []byte(text)
	flipped[len(flipped)-8] ^= 1
	for name, x := range map[string]struct {
		by          Wrapper
		place, text string
		opens       bool
	}{
		"itself":               {old, "snapshot/a", text, true},
		"after a rotation":     {local(two, one), "snapshot/a", text, true},
		"in a chain":           {Wrappers{local(two), old}, "snapshot/a", text, true},
		"another place":        {old, "snapshot/b", text, false},
		"another key":          {local(two), "snapshot/a", text, false},
		"another key's name":   {local(two), "snapshot/a", strings.Replace(text, old.ID(), local(two).ID(), 1), false},
		"changed":              {old, "snapshot/a", string(flipped), false},
		"cut":                  {old, "snapshot/a", text[:len(text)-8], false},
		"empty":                {old, "snapshot/a", "", false},
		"a name alone":         {old, "snapshot/a", old.ID() + ":", false},
		"not of this alphabet": {old, "snapshot/a", old.ID() + ":*", false},
	} {
		got, err := x.by.Unwrap(ctx, x.place, x.text)
		if x.opens != (err == nil && bytes.Equal(got, key)) {
			t.Errorf("%s: %v", name, err)
		}
		if !x.opens && !errors.Is(err, ErrKeyLost) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if local(two, one).ID() != local(two).ID() {
		t.Error("a wrapper is not named by the key that wraps")
	}
	for _, bad := range [][][]byte{{}, {one[:16]}, {one, nil}} {
		if _, err := NewLocal(bad...); err == nil {
			t.Error("a wrapper of bad keys was made")
		}
	}
	small := local(one)
	short, _ := small.Wrap(ctx, "p", key[:16])
	if _, err := small.Unwrap(ctx, "p", short); !errors.Is(err, ErrKeyLost) {
		t.Errorf("a short key: %v", err)
	}
}

// A changed text of a wrapped key never crashes and never opens.
func FuzzUnwrap(f *testing.F) {
	l, err := NewLocal(bytes.Repeat([]byte{3}, KeySize))
	if err != nil {
		f.Fatal(err)
	}
	key := bytes.Repeat([]byte{9}, KeySize)
	text, err := l.Wrap(context.Background(), "p", key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add("")
	f.Add(l.ID() + ":AAAA")
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := l.Unwrap(context.Background(), "p", s); err == nil && !bytes.Equal(got, key) {
			t.Errorf("%q opens to another key", s)
		}
	})
}
