package vault_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/sandgate/sandgate/compute/engine/sealed"
	"github.com/sandgate/sandgate/gateway/home/vault"
	"github.com/sandgate/sandgate/gateway/home/vault/vaulttest"
)

func open(t *testing.T, cfg vault.Config) *vault.Service {
	t.Helper()
	s, err := vault.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

var key = bytes.Repeat([]byte{7}, sealed.KeySize)

func wrap(t *testing.T, s *vault.Service) string {
	t.Helper()
	text, err := s.Wrap(t.Context(), "snapshot/a", key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// eventually waits for what a restarted or unsealed server does within a moment.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// R34: a key wrapped by a real Vault unwraps in its own place and nowhere else, and
// the key that wraps it never leaves.
func TestR34_Vault(t *testing.T) {
	server := vaulttest.Start(t, time.Hour)
	s := open(t, server.Config())
	text := wrap(t, s)
	if !strings.HasPrefix(text, "vault:v1:") || strings.Contains(text, string(key)) || s.ID() != "vault:transit/sandgate-storage:v1" {
		t.Errorf("%s wraps %q", s.ID(), text)
	}
	changed := text[:len(text)-6] + "AAAAA="
	for name, c := range map[string]struct {
		place, text string
		opens       bool
	}{
		"itself": {"snapshot/a", text, true}, "another place": {"snapshot/b", text, false}, "changed": {"snapshot/a", changed, false},
		"empty": {"snapshot/a", "", false}, "a local key": {"snapshot/a", "local:00:AAAA", false}, "a version to come": {"snapshot/a", strings.Replace(text, ":v1:", ":v9:", 1), false},
	} {
		got, err := s.Unwrap(t.Context(), c.place, c.text)
		if c.opens != (err == nil && bytes.Equal(got, key)) || !c.opens && !errors.Is(err, sealed.ErrKeyLost) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s.State() != vault.StateOK {
		t.Errorf("state %s after what was asked wrongly", s.State())
	}
	// Rotation: the old text still opens, the new one is of the new version.
	if err := s.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again := wrap(t, s); !strings.HasPrefix(again, "vault:v2:") || !strings.HasSuffix(s.ID(), ":v2") {
		t.Errorf("after a rotation %s wraps %q", s.ID(), again)
	}
	if got, err := s.Unwrap(t.Context(), "snapshot/a", text); err != nil || !bytes.Equal(got, key) {
		t.Errorf("the text of before: %v", err)
	}
	server.Do(t, func(c *api.Client) error {
		if _, err := c.Logical().Read("transit/export/encryption-key/sandgate-storage"); err == nil {
			return errors.New("the key can be exported")
		}
		return nil
	})
}

// R34: a start refuses, with a word on what to do, a server that is sealed, away,
// slow, not who it should be, or does not know the gateway.
func TestR34_VaultAtStart(t *testing.T) {
	server := vaulttest.Start(t, time.Hour)
	file := func(text string, mode os.FileMode) string {
		name := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return name
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	secret, err := os.ReadFile(server.Config().SecretFile)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(name, want string, change func(c *vault.Config)) {
		t.Helper()
		cfg := server.Config()
		cfg.Timeout = 2 * time.Second
		change(&cfg)
		begin := time.Now()
		s, err := vault.Open(t.Context(), cfg)
		if err == nil {
			_ = s.Close()
			t.Errorf("%s: opened", name)
			return
		}
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), strings.TrimSpace(string(secret))) {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("%s took %v", name, took)
		}
	}
	refused("no server", "cannot be reached", func(c *vault.Config) { c.Address = "https://" + closed.Addr().String() })
	refused("another authority", "cannot be reached", func(c *vault.Config) { c.CA = "" })
	refused("plain http elsewhere", "use https", func(c *vault.Config) { c.Address = "http://vault.example" })
	refused("no role", "role", func(c *vault.Config) { c.RoleFile = "/nonexistent" })
	refused("an empty role", "is empty", func(c *vault.Config) { c.RoleFile = file("\n", 0o600) })
	refused("a secret for all", "can be read by others", func(c *vault.Config) { c.SecretFile = file(string(secret), 0o644) })
	refused("a wrong secret", "", func(c *vault.Config) { c.SecretFile = file("00000000-0000-0000-0000-000000000000", 0o600) })
	refused("another key", "denies", func(c *vault.Config) { c.Key = "other" })
	refused("a path for a key", "is not the name", func(c *vault.Config) { c.Key = "../sys" })
	server.Seal(t)
	refused("sealed", "unseal", func(*vault.Config) {})
	server.Unseal(t)
	server.Pause(t)
	refused("slow", "cannot be reached", func(*vault.Config) {})
	server.Resume(t)
	open(t, server.Config())
}

// R34: while it runs, a server that is sealed, slow, killed or forgets the role
// gives one error at once, and is used again without a restart when it is back.
func TestR34_VaultGoesAndComes(t *testing.T) {
	server := vaulttest.Start(t, time.Hour)
	cfg := server.Config()
	cfg.Timeout = 2 * time.Second
	var mu sync.Mutex
	var told []string
	cfg.Told = func(s vault.State) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, string(s))
	}
	s := open(t, cfg)
	text := wrap(t, s)
	works := func() error {
		got, err := s.Unwrap(t.Context(), "snapshot/a", text)
		if err == nil && !bytes.Equal(got, key) {
			err = errors.New("another key")
		}
		return err
	}
	for _, c := range []struct {
		name       string
		state      vault.State
		away, back func()
	}{
		{"sealed", vault.StateSealed, func() { server.Seal(t) }, func() { server.Unseal(t) }},
		{"paused", vault.StateAway, func() { server.Pause(t) }, func() { server.Resume(t) }},
		{"killed", vault.StateAway, func() { server.Kill(t) }, func() { server.Run(t); server.Unseal(t) }},
	} {
		c.away()
		for range 20 {
			begin := time.Now()
			if err := works(); !errors.Is(err, sealed.ErrKeysAway) {
				t.Fatalf("%s: %v", c.name, err)
			}
			if took := time.Since(begin); took > cfg.Timeout+time.Second {
				t.Errorf("%s: a call took %v", c.name, took)
			}
		}
		if s.State() != c.state {
			t.Errorf("%s: state %s", c.name, s.State())
		}
		c.back()
		eventually(t, c.name, works)
	}
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(told, " "); got != "sealed ok away ok away ok" {
		t.Errorf("told %s", got)
	}
}

// R34: a token is renewed while it may be, replaced when it may not, and when it
// was revoked; a caller notices none of it.
func TestR34_VaultToken(t *testing.T) {
	server := vaulttest.Start(t, time.Second) // at most 4 s by renewal
	s := open(t, server.Config())
	text := wrap(t, s)
	for end := time.Now().Add(6 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if _, err := s.Unwrap(t.Context(), "snapshot/a", text); err != nil {
			t.Fatalf("with a token that ends: %v", err)
		}
	}
	server.Do(t, func(c *api.Client) error {
		return c.Sys().RevokePrefix("auth/approle/login")
	})
	if _, err := s.Unwrap(t.Context(), "snapshot/a", text); err != nil {
		t.Errorf("with a token that was revoked: %v", err)
	}
	// A caller who goes away is not a server that does.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Unwrap(ctx, "snapshot/a", text); err == nil || s.State() != vault.StateOK {
		t.Errorf("%v, state %s", err, s.State())
	}
	if _, err := s.Unwrap(t.Context(), "snapshot/a", text); err != nil {
		t.Error(err)
	}
}

// BenchmarkUnwrap is what opening a snapshot pays to Vault.
func BenchmarkUnwrap(b *testing.B) {
	server := vaulttest.Start(b, time.Hour)
	s, err := vault.Open(b.Context(), server.Config())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	text, err := s.Wrap(b.Context(), "p", key)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.Unwrap(b.Context(), "p", text); err != nil {
			b.Fatal(err)
		}
	}
}
