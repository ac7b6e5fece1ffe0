// Package vault keeps the keys of snapshots in a HashiCorp Vault or OpenBao
// server: every data key is wrapped by a transit key that never leaves the
// server, and unwrapped by it each time a snapshot is opened. So whoever holds
// the gateway's directory holds nothing, and sealing the server closes every
// snapshot that is not open.
package vault

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/sandgate/sandgate/compute/engine/sealed"
)

// Config says where the server is and who the gateway is to it.
type Config struct {
	Address string // https://HOST:PORT; http only on the loopback
	CA      string // PEM file of the server's authority; empty: the system's
	// RoleFile and SecretFile hold the AppRole's role_id and secret_id. The secret
	// file must be its owner's alone.
	RoleFile, SecretFile string
	Mount                string // of transit; empty: transit
	Key                  string // of transit; empty: sandgate-storage
	Login                string // mount of AppRole; empty: approle
	// Timeout of one call; 0 is 2 s.
	Timeout time.Duration
	// Told, if set, hears of every change of State; it must not block.
	Told func(State)
}

// State of the server as the last call found it.
type State string

const (
	StateOK     State = "ok"
	StateSealed State = "sealed"
	StateAway   State = "away"
	StateDenied State = "denied" // the role may not, or its secret is no longer good
)

// Service wraps keys by the server. It is safe for concurrent use.
type Service struct {
	cfg    Config
	client *api.Client
	stop   context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	state   State
	until   time.Time // the breaker: no call before
	version int       // newest version of the key
}

const (
	// pause keeps callers from queueing on a server that does not answer.
	pause = 200 * time.Millisecond
	// prefix of what transit wraps; its versions are part of the text.
	prefix = "vault:v"
)

var plainPath = regexp.MustCompile(`^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$`)

// Open logs in and asks for the key. A server that is sealed, does not answer or
// does not know the role or key is an error that says so and what to do.
func Open(ctx context.Context, cfg Config) (*Service, error) {
	for field, byDefault := range map[*string]string{&cfg.Mount: "transit", &cfg.Key: "sandgate-storage", &cfg.Login: "approle"} {
		if *field == "" {
			*field = byDefault
		}
		if !plainPath.MatchString(*field) {
			return nil, fmt.Errorf("%q is not the name of a mount or key of Vault", *field)
		}
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 2 * time.Second
	}
	conf := api.DefaultConfig()
	if conf.Error != nil {
		return nil, fmt.Errorf("failed to configure the Vault client: %w", conf.Error)
	}
	conf.Address, conf.Timeout, conf.MaxRetries = cfg.Address, cfg.Timeout, 0
	if !strings.HasPrefix(cfg.Address, "https://") && !loopback(cfg.Address) {
		return nil, fmt.Errorf("--vault-addr %q: use https://, or http:// on the loopback only", cfg.Address)
	}
	if cfg.CA != "" {
		if err := conf.ConfigureTLS(&api.TLSConfig{CACert: cfg.CA}); err != nil {
			return nil, fmt.Errorf("failed to read Vault's authority: %w", err)
		}
	}
	client, err := api.NewClient(conf)
	if err != nil {
		return nil, fmt.Errorf("failed to make the Vault client: %w", err)
	}
	// VAULT_TOKEN and VAULT_NAMESPACE of the environment are nobody's here.
	client.ClearToken()
	s := &Service{cfg: cfg, client: client, state: StateOK}
	lease, err := s.login(ctx)
	if err == nil {
		err = s.readKey(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("failed to reach the keys in Vault at %s: %w", cfg.Address, err)
	}
	background, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.done.Go(func() { s.keepToken(background, lease) })
	return s, nil
}

func loopback(address string) bool {
	for _, host := range []string{"http://127.0.0.1:", "http://[::1]:", "http://localhost:"} {
		if strings.HasPrefix(address, host) {
			return true
		}
	}
	return false
}

// secret reads one line of a file that only its owner may read.
func secret(name string, private bool) (string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return "", fmt.Errorf("failed to find the file of Vault's role: %w", err)
	}
	if private && info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%s can be read by others; run: chmod 600 %s", name, name)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("failed to read the file of Vault's role: %w", err)
	}
	if line := strings.TrimSpace(string(text)); line != "" {
		return line, nil
	}
	return "", fmt.Errorf("%s is empty", name)
}

// login gets a token; the files are read anew, so that a secret can be replaced
// while the gateway runs.
func (s *Service) login(ctx context.Context) (time.Duration, error) {
	role, err := secret(s.cfg.RoleFile, false)
	if err != nil {
		return 0, err
	}
	id, err := secret(s.cfg.SecretFile, true)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	out, err := s.client.Logical().WriteWithContext(ctx, "auth/"+s.cfg.Login+"/login", map[string]any{"role_id": role, "secret_id": id})
	if err = s.judge(err); err != nil {
		return 0, err
	}
	if out == nil || out.Auth == nil || out.Auth.ClientToken == "" {
		return 0, errors.New("no token came from Vault")
	}
	s.client.SetToken(out.Auth.ClientToken)
	return time.Duration(out.Auth.LeaseDuration) * time.Second, nil
}

// keepToken renews the token before it ends, and logs in anew when it cannot be
// renewed, until the service is closed.
func (s *Service) keepToken(ctx context.Context, lease time.Duration) {
	for {
		wait := lease * 2 / 3
		if lease <= 0 {
			wait = time.Hour
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(wait, 100*time.Millisecond)):
		}
		calling, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
		out, err := s.client.Auth().Token().RenewSelfWithContext(calling, 0)
		cancel()
		if err == nil && out != nil && out.Auth != nil && out.Auth.LeaseDuration > 0 && time.Duration(out.Auth.LeaseDuration)*time.Second > lease/2 {
			lease = time.Duration(out.Auth.LeaseDuration) * time.Second
			continue
		}
		if next, err := s.login(ctx); err == nil {
			lease = next
		} else {
			lease = time.Second
		}
	}
}

// Close stops renewing and gives the token back.
func (s *Service) Close() error {
	s.stop()
	s.done.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Timeout)
	defer cancel()
	// A server that is away forgets the token by itself when it ends.
	_ = s.client.Auth().Token().RevokeSelfWithContext(ctx, "")
	return nil
}

// State is what the last call found.
func (s *Service) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// judge turns an error of the client into one of ours, remembers the state of the
// server, and opens the breaker. The client's own texts can quote requests.
func (s *Service) judge(err error) error {
	state, out := StateOK, error(nil)
	var answer *api.ResponseError
	switch {
	case err == nil:
	case errors.Is(err, context.Canceled):
		return err // the caller went away; that says nothing of the server
	case errors.As(err, &answer) && answer.StatusCode == http.StatusServiceUnavailable && strings.Contains(strings.ToLower(strings.Join(answer.Errors, " ")), "sealed"):
		state, out = StateSealed, fmt.Errorf("%w: Vault is sealed; unseal it", sealed.ErrKeysAway)
	case errors.As(err, &answer) && answer.StatusCode == http.StatusForbidden:
		state, out = StateDenied, fmt.Errorf("%w: Vault denies it; check the role's policy and its secret", sealed.ErrKeysAway)
	case errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound:
		state, out = StateDenied, fmt.Errorf("%w: Vault has no such mount or key; create it with: vault write -f %s", sealed.ErrKeysAway, path.Join(s.cfg.Mount, "keys", s.cfg.Key))
	case errors.As(err, &answer) && answer.StatusCode == http.StatusBadRequest:
		// What was asked is wrong, not the server.
		s.settle(StateOK)
		return sealed.ErrKeyLost
	case errors.As(err, &answer):
		state, out = StateAway, fmt.Errorf("%w: Vault answers with status %d", sealed.ErrKeysAway, answer.StatusCode)
	default:
		state, out = StateAway, fmt.Errorf("%w: Vault cannot be reached", sealed.ErrKeysAway)
	}
	s.settle(state)
	return out
}

func (s *Service) settle(state State) {
	s.mu.Lock()
	changed := s.state != state
	s.state = state
	if state == StateAway || state == StateSealed {
		s.until = time.Now().Add(pause)
	} else {
		s.until = time.Time{}
	}
	s.mu.Unlock()
	if changed && s.cfg.Told != nil {
		s.cfg.Told(state)
	}
}

// call does one request. A token that ended is replaced once.
func (s *Service) call(ctx context.Context, do func(ctx context.Context) (*api.Secret, error)) (*api.Secret, error) {
	s.mu.Lock()
	wait := time.Until(s.until)
	s.mu.Unlock()
	if wait > 0 {
		return nil, fmt.Errorf("%w: Vault did not answer a moment ago", sealed.ErrKeysAway)
	}
	once := func() (*api.Secret, error) {
		ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
		defer cancel()
		out, err := do(ctx)
		return out, s.judge(err)
	}
	out, err := once()
	if err != nil && s.State() == StateDenied {
		if _, lerr := s.login(ctx); lerr != nil {
			return nil, lerr
		}
		out, err = once()
	}
	return out, err
}

func (s *Service) write(ctx context.Context, op string, data map[string]any) (*api.Secret, error) {
	return s.call(ctx, func(ctx context.Context) (*api.Secret, error) {
		return s.client.Logical().WriteWithContext(ctx, path.Join(s.cfg.Mount, op, s.cfg.Key), data)
	})
}

// readKey learns the newest version of the key, and that it is one that never
// leaves the server.
func (s *Service) readKey(ctx context.Context) error {
	out, err := s.call(ctx, func(ctx context.Context) (*api.Secret, error) {
		return s.client.Logical().ReadWithContext(ctx, path.Join(s.cfg.Mount, "keys", s.cfg.Key))
	})
	if err != nil {
		return err
	}
	if out == nil || out.Data == nil {
		return fmt.Errorf("%w: Vault has no such key; create it with: vault write -f %s", sealed.ErrKeysAway, path.Join(s.cfg.Mount, "keys", s.cfg.Key))
	}
	if out.Data["exportable"] == true || out.Data["type"] != "aes256-gcm96" || out.Data["derived"] == true {
		return fmt.Errorf("the key %s in Vault must be of type aes256-gcm96, not derived and not exportable", s.cfg.Key)
	}
	var version int
	if _, err := fmt.Sscan(fmt.Sprint(out.Data["latest_version"]), &version); err != nil {
		return errors.New("the key in Vault has no version")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version = version
	return nil
}

// ID implements sealed.Wrapper: mount, key and version.
func (s *Service) ID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("vault:%s/%s:v%d", s.cfg.Mount, s.cfg.Key, s.version)
}

// Wrap implements sealed.Wrapper.
func (s *Service) Wrap(ctx context.Context, place string, key []byte) (string, error) {
	out, err := s.write(ctx, "encrypt", map[string]any{
		"plaintext":       base64.StdEncoding.EncodeToString(key),
		"associated_data": base64.StdEncoding.EncodeToString([]byte(place)),
	})
	if err != nil {
		return "", err
	}
	text, _ := field(out, "ciphertext")
	if !strings.HasPrefix(text, prefix) {
		return "", errors.New("no wrapped key came from Vault")
	}
	return text, nil
}

// Unwrap implements sealed.Wrapper.
func (s *Service) Unwrap(ctx context.Context, place, wrapped string) ([]byte, error) {
	if !strings.HasPrefix(wrapped, prefix) {
		return nil, sealed.ErrKeyLost
	}
	out, err := s.write(ctx, "decrypt", map[string]any{
		"ciphertext":      wrapped,
		"associated_data": base64.StdEncoding.EncodeToString([]byte(place)),
	})
	if err != nil {
		return nil, err
	}
	text, _ := field(out, "plaintext")
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(key) != sealed.KeySize {
		return nil, sealed.ErrKeyLost
	}
	return key, nil
}

func field(out *api.Secret, name string) (string, bool) {
	if out == nil {
		return "", false
	}
	s, ok := out.Data[name].(string)
	return s, ok
}

// Rotate has the server draw a new version of the key, which wraps from now on;
// the old ones go on unwrapping. The server is asked once: a retry could draw two.
func (s *Service) Rotate(ctx context.Context) error {
	if _, err := s.call(ctx, func(ctx context.Context) (*api.Secret, error) {
		return s.client.Logical().WriteWithContext(ctx, path.Join(s.cfg.Mount, "keys", s.cfg.Key, "rotate"), nil)
	}); err != nil {
		return err
	}
	return s.readKey(ctx)
}
