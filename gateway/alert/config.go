package alert

import (
	"bytes"
	"errors"
	"fmt"
	"net/mail"
	"net/netip"
	"net/url"
	"os"

	"go.yaml.in/yaml/v3"

	"github.com/sandgate/sandgate/ledger/state"
)

// Config says when to warn and whom.
type Config struct {
	Rules   state.AlertRules `yaml:"rules"`
	Webhook *Webhook         `yaml:"webhook"`
	Mail    *Mail            `yaml:"mail"`
}

// Webhook is an address that alerts are posted to as JSON, signed as Standard
// Webhooks say: https, or http on this machine.
type Webhook struct {
	URL string `yaml:"url"`
	// SecretFile holds the key of the signatures, 24 to 64 bytes in base64, with or
	// without the prefix whsec_; nobody but its owner may read it.
	SecretFile string `yaml:"secret_file"`
	// CAFile holds the certificate authorities of the address, PEM; empty is the
	// system's.
	CAFile string `yaml:"ca_file"`
}

// Mail is a directory into which alerts are written as messages (RFC 5322), for a
// mailer to pick up.
type Mail struct {
	Dir  string   `yaml:"dir"`
	From string   `yaml:"from"`
	To   []string `yaml:"to"`
}

// ReadConfig reads a YAML file. What it leaves out of rules is
// state.DefaultAlertRules.
func ReadConfig(path string) (Config, error) {
	c := Config{Rules: state.DefaultAlertRules}
	text, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("failed to read the configuration of alerts: %w", err)
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&c); err != nil {
		// The parser's own words would quote the file, an address and all.
		return c, fmt.Errorf("%s: 不是有效的告警配置 · not a configuration of alerts: fields are rules, webhook and mail (docs/alerts.md)", path)
	}
	return c, c.check()
}

func (c Config) check() error {
	if c.Webhook == nil && c.Mail == nil {
		return errors.New("alerts: neither webhook nor mail is given")
	}
	r := c.Rules
	for _, n := range []struct {
		name       string
		is, lo, hi int
	}{
		{"budget_percent", r.BudgetPercent, 50, 100}, {"refusals.count", r.Refusals.Count, 2, 100}, {"refusals.hours", r.Refusals.Hours, 1, 720},
		{"enumeration.count", r.Enumeration.Count, 2, 100}, {"enumeration.hours", r.Enumeration.Hours, 1, 720}, {"lag in seconds", int(r.Lag.Seconds()), 10, 86400},
	} {
		if n.is < n.lo || n.is > n.hi {
			return fmt.Errorf("alerts: rules.%s is %d; it must lie in %d…%d", n.name, n.is, n.lo, n.hi)
		}
	}
	if c.Webhook != nil {
		if err := c.Webhook.check(); err != nil {
			return err
		}
	}
	if c.Mail != nil {
		if c.Mail.Dir == "" || len(c.Mail.To) == 0 {
			return errors.New("alerts: mail needs dir and to")
		}
		for _, a := range append([]string{c.Mail.From}, c.Mail.To...) {
			if _, err := mail.ParseAddress(a); err != nil {
				return errors.New("alerts: mail: from and to are addresses such as sandgate@example.gov.cn")
			}
		}
	}
	return nil
}

func (w Webhook) check() error {
	u, err := url.Parse(w.URL)
	if err != nil || u.Host == "" || u.User != nil {
		return errors.New("alerts: webhook.url is no address such as https://supervision.example.gov.cn/alerts, without a password")
	}
	ip, err := netip.ParseAddr(u.Hostname())
	local := u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
	if u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return errors.New("alerts: webhook.url is https, or http on this machine")
	}
	if w.SecretFile == "" {
		return errors.New("alerts: webhook.secret_file is missing: a receiver could not tell our alerts from anybody's")
	}
	return nil
}
