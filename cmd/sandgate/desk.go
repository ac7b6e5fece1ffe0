package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/types/known/timestamppb"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/policies"
)

// civil is the zone of statutory days.
var civil = policies.CivilZone

// statement is a document that a command writes, signs and applies.
type statement struct{ print bool }

func (s *statement) add(c *cobra.Command) {
	c.Flags().BoolVar(&s.print, "print", false, "只显示文件，供 policy sign/apply 使用 · only print the document, for policy sign and apply")
}

// documentOf is a document as YAML.
func documentOf[T any](kind policies.Kind, body T) ([]byte, error) {
	text, err := yaml.Marshal(struct {
		Kind policies.Kind `yaml:"kind"`
		Body T             `yaml:",inline"`
	}{kind, body})
	if err != nil {
		return nil, texts.Errorf("failed to write %s: %w", kind, err)
	}
	// What cannot be read back is told before it is signed.
	if _, err := policies.ParseBundle(text); err != nil {
		return nil, err
	}
	return text, nil
}

// say prints a document, or signs it with the kit and puts it in force.
func (s *statement) say(a *app, c *cobra.Command, text []byte, err error) error {
	if err != nil {
		return err
	}
	if s.print {
		_, err := a.out.Write(text)
		return err
	}
	resp, err := a.signAndApply(c.Context(), text)
	if err != nil {
		return err
	}
	return a.inForce(resp)
}

// signer is the kit's party, in whose name a document speaks.
func (a *app) signer() (string, error) {
	k, err := a.kit()
	if err != nil {
		return "", err
	}
	return k.Party, nil
}

func zh(s string) policies.Text { return policies.Text{ZH: s} }

// scopeArgs reads DATASET=COLUMN,COLUMN.
func scopeArgs(args []string) ([]policies.LicenceObject, error) {
	var out []policies.LicenceObject
	for _, s := range args {
		dataset, columns, ok := strings.Cut(s, "=")
		if !ok || dataset == "" || columns == "" {
			return nil, usageError{texts.Errorf("--scope is like DATASET=COLUMN,COLUMN")}
		}
		out = append(out, policies.LicenceObject{Dataset: dataset, Columns: strings.Split(columns, ",")})
	}
	return out, nil
}

// dayArg reads a day in China Standard Time, or an instant; a day that ends a term
// belongs to it.
func dayArg(flag, s string, whole bool) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		return at, nil
	}
	at, err := time.ParseInLocation(time.DateOnly, s, civil)
	if err != nil {
		return time.Time{}, usageError{texts.Errorf("--%s is a day such as 2026-12-31 or an instant such as 2026-12-31T00:00:00+08:00", flag)}
	}
	if whole {
		at = at.AddDate(0, 0, 1)
	}
	return at, nil
}

// when is an instant as the reader of the chosen format takes it: a person in China
// Standard Time, a program in UTC.
func (a *app) when(t time.Time) string {
	if a.format == "table" {
		return policies.Clock(t)
	}
	return t.UTC().Format(time.RFC3339)
}

// whenIf is when, or nothing.
func (a *app) whenIf(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return a.when(t.AsTime())
}

// lastDay is the last day of a term or deadline whose end is an instant.
func lastDay(t *timestamppb.Timestamp) string {
	if t == nil {
		return "?"
	}
	return policies.Day(t.AsTime().Add(-time.Nanosecond))
}

func (a *app) text(t *sandgatev1.DeskText) string {
	return policies.Text{ZH: t.GetZh(), EN: t.GetEn()}.In(a.lang)
}

// owedNow says in one cell who owes what until when.
func owedNow(duties []*sandgatev1.Duty) string {
	var out []string
	for _, d := range duties {
		s := d.GetOwes() + " " + d.GetKind() + " " + lastDay(d.GetDueTime())
		if d.GetPhase() != string(policies.PhaseOpen) {
			s += " (" + d.GetPhase() + ")"
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

func (a *app) dutiesCmd() *cobra.Command {
	var missed bool
	c := &cobra.Command{
		Use:   "duties",
		Short: "办理期限：谁在何时前须办什么 · who owes what until when",
		Long: `列出须由本方办理的事项及升级给本方的事项；主管部门看到全部，含长期未使用的授权和集中的越权尝试。期限按工作日历计算。
Lists what the caller owes and what was escalated to it; the regulator sees everything, unused grants and bursts of
attempts outside a licence among it. Deadlines are counted in working days.`,
		Example: "  sandgate duties --kit ./kits/health\n  sandgate duties --missed --kit ./kits/data_bureau",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.dial()
			if err != nil {
				return err
			}
			defer cl.Close()
			var body [][]string
			req := &sandgatev1.ListDutiesRequest{Missed: missed, PageSize: 200}
			for {
				resp, err := cl.Desk.ListDuties(c.Context(), req)
				if err != nil {
					return err
				}
				for _, d := range resp.GetDuties() {
					body = append(body, []string{d.GetId(), d.GetOwes(), a.whenIf(d.GetSince()), lastDay(d.GetDueTime()), a.state(d.GetPhase()), d.GetEscalatedTo(), d.GetProblem()})
				}
				if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
					break
				}
			}
			return a.rows([]string{a.head("事项", "duty"), a.head("承办方", "owes"), a.head("自", "since"), a.head("最后一日", "last_day"), a.head("状态", "phase"),
				a.head("升级至", "escalated_to"), a.head("问题", "problem")}, body)
		},
	}
	c.Flags().BoolVar(&missed, "missed", false, "只列逾期、升级或无法计算期限的 · only what is overdue, escalated or has no date")
	return c
}
