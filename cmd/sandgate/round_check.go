package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/policies"
)

// agreementFlag names the agreement by which a receiver checks answers.
func agreementFlag(c *cobra.Command, file *string) {
	c.Flags().StringVar(file, "agreement", "", "跨域协议文件，用以核验主管部门的签名，默认为密钥包中的 agreements/协议名.yaml · agreement to check the regulator's signature by; agreements/REGION.yaml of the kit by default")
}

// agreement reads the receiver's own copy of an agreement, nil if it has none: one that
// the gateway hands out would prove nothing about the gateway.
func (a *app) agreement(file, region string) (*policies.Federation, error) {
	given := file != ""
	if !given {
		k, err := a.kit()
		if err != nil || !filepath.IsLocal(region) {
			return nil, nil
		}
		file = filepath.Join(k.Dir, "agreements", region+".yaml")
	}
	text, err := os.ReadFile(file)
	if !given && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, texts.Errorf("failed to read the agreement: %w", err)
	}
	f, err := client.ReadAgreement(text, region)
	if err != nil {
		return nil, err
	}
	return &f, nil
}

// checkAnswer holds an answer against what the regulator signed, and says so. What does
// not fit is not shown.
func (a *app) checkAnswer(agreed *policies.Federation, r *sandgatev1.Round, request string, got *sandgatev1.RoundRelease) error {
	if agreed == nil {
		a.note("未核验：本机没有跨域协议，以下结果仅凭网关之言；请用 --agreement 指定，或存入密钥包的 agreements/%s.yaml", "not checked: there is no agreement here, and what follows is the gateway's word; give --agreement, or put it into the kit as agreements/%s.yaml", r.GetRegion())
		return nil
	}
	err := client.CheckRound(*agreed, r.GetOperator(), request, got)
	if err == nil && got.GetRound().GetName() != r.GetName() {
		err = texts.Errorf("the answer is of another round than the one that was asked for")
	}
	if err != nil {
		a.note("核验未通过，结果不予展示：%s", "the check failed and the answer is not shown: %s", a.said(err))
		return &silentError{exitAuditFailed}
	}
	a.note("已核验：结果由“%s”签名，表格与所签的逐字相同，且正是所提请求的答复", "checked: %s signed the answer, the table is to the letter the signed one, and it answers the very request", agreed.With(policies.FederationRegulator)[0])
	return nil
}
