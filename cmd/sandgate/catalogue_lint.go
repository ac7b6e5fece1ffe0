package main

import (
	"context"
	"os"
	"strings"

	"github.com/spf13/cobra"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/policies"
)

func (a *app) catalogLintCmd() *cobra.Command {
	var live bool
	var department string
	c := &cobra.Command{
		Use:   "lint [FILE]",
		Short: "按规定检查目录，逐项说明缺什么、怎么办 · explain every gap of a catalogue and what to do",
		Long: `检查策略文件（YAML）、工作簿（XLSX）或 CSV（ZIP），或用 --live 检查生效的目录（还包括分级、脱敏、披露和登记）。有错误时退出码为 4。
Checks a bundle (YAML), a workbook (XLSX) or CSV (ZIP), or with --live the catalogue in force, there with grading,
masks, disclosure and registration. Exit code 4 when there are errors; warnings alone are 0.`,
		Example: "  sandgate catalog lint health.xlsx\n  sandgate catalog lint --live --kit ./kits/health -o json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if live == (len(args) == 1) {
				return usageError{texts.Errorf("give either a file or --live")}
			}
			var findings []policies.Finding
			var err error
			if live {
				findings, err = a.lintLive(c.Context(), department)
			} else {
				findings, err = lintFile(args[0])
			}
			if err != nil {
				return err
			}
			return a.findings(findings)
		},
	}
	f := c.Flags()
	f.BoolVar(&live, "live", false, "检查网关上生效的目录 the catalogue in force at the gateway")
	f.StringVar(&department, "department", "", "与 --live 合用：只看此部门 with --live: of this department only")
	return c
}

func lintFile(name string) ([]policies.Finding, error) {
	if low := strings.ToLower(name); strings.HasSuffix(low, ".xlsx") || strings.HasSuffix(low, ".zip") {
		catalogues, err := readSheet(name)
		if err != nil {
			return nil, err
		}
		var docs []policies.Document
		for _, c := range catalogues {
			docs = append(docs, policies.Document{Kind: policies.KindCatalogue, Catalogue: &c})
		}
		return policies.LintBundle(docs), nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, texts.Errorf("failed to read bundle: %w", err)
	}
	docs, err := policies.ParseBundle(text)
	if err != nil {
		return nil, texts.Errorf("%s: %w", name, err)
	}
	found := false
	for _, d := range docs {
		found = found || d.Catalogue != nil
	}
	if !found {
		return nil, texts.Errorf("%s: the bundle holds no Catalogue document", name)
	}
	return policies.LintBundle(docs), nil
}

func (a *app) lintLive(ctx context.Context, department string) ([]policies.Finding, error) {
	cl, err := a.dial()
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	var out []policies.Finding
	req := &sandgatev1.LintCatalogueRequest{Department: department, PageSize: 200}
	for {
		resp, err := cl.Catalogue.LintCatalogue(ctx, req)
		if err != nil {
			return nil, err
		}
		for _, f := range resp.GetFindings() {
			out = append(out, policies.Finding{Severity: policies.Severity(f.GetSeverity()), Code: f.GetCode(), Requirement: f.GetRequirement(), Dataset: f.GetDataset(), Column: f.GetColumn(),
				ZH: f.GetMessageZh(), EN: f.GetMessageEn(), DoZH: f.GetActionZh(), DoEN: f.GetActionEn()})
		}
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			return out, nil
		}
	}
}

// findings prints a lint and fails when it found an error.
func (a *app) findings(list []policies.Finding) error {
	errs := 0
	var body [][]string
	for _, f := range list {
		severity := a.t("警告", "warning")
		if f.Severity == policies.SeverityError {
			errs++
			severity = a.t("错误", "error")
		}
		if a.format == "csv" {
			severity = string(f.Severity)
		}
		message, do := f.EN, f.DoEN
		if a.lang == "zh" {
			message, do = f.ZH, f.DoZH
		}
		body = append(body, []string{severity, f.Requirement, f.Dataset, f.Column, f.Code, message, do})
	}
	var err error
	if a.format == "json" {
		if list == nil {
			list = []policies.Finding{}
		}
		err = a.json(list)
	} else {
		err = a.rows([]string{a.head("级别", "severity"), a.head("要求", "requirement"), a.head("数据集", "dataset"), a.head("列", "column"), a.head("代码", "code"),
			a.head("问题", "message"), a.head("怎么办", "action")}, body)
	}
	if err != nil {
		return err
	}
	a.note("%d 个错误，%d 个警告", "%d errors, %d warnings", errs, len(list)-errs)
	if errs > 0 {
		return &silentError{exitAuditFailed}
	}
	return nil
}
