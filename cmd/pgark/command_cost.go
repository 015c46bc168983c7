package main

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/cost"
	"github.com/pgark/pgark/status"
)

func costCommand(p *program) *cli.Command {
	return p.command(&cli.Command{
		Name: "cost", Usage: "what the repositories cost a month, what another week would add, and what upload intervals cost and may lose", ArgsUsage: "[URL]",
		Description: "An estimate, in USD, from what the repositories hold and got in the last days: from any host that may read them. It goes by Amazon's list prices unless\n" +
			"prices: in the configuration has yours; a folder costs nothing. Requests are the most there can be with a server that is busy day and night, unless the\n" +
			"agent on this host says over http.listen how many it made. What is not counted stands in the last lines.",
		Flags: []cli.Flag{systemFlag(), fromFlag(), wholeFlag()},
	}, atMostOne, repositoryCost)
}

// costDocument is what `pgark repo cost -o json` prints.
type costDocument struct {
	Cluster string    `json:"cluster"`
	Now     time.Time `json:"now"`
	*cost.Bill
}

func repositoryCost(s *session) error {
	c, err := s.loadWith(s.argument())
	if err != nil {
		return err
	}
	one, err := c.Select(text(s.cli, "cluster"))
	if err == nil && s.cli.String("from") != "" {
		one, err = s.clusterFrom(s.argument())
	}
	if err != nil {
		return err
	}
	id, err := s.systemID()
	if err != nil {
		return err
	}
	r, err := agent.Survey(s.ctx, one, id, s.costOptions(c, one, s.live(c, one)))
	if err != nil {
		return s.hintPast(one, err)
	}
	if s.json {
		return s.printJSON(costDocument{r.Cluster, r.Now, r.Cost})
	}
	s.printCost(r)
	return nil
}

// costOptions are those of a survey that reckons what repositories cost; live is what the agent on this host says, nil where none does.
func (s *session) costOptions(c config.Config, cluster config.Cluster, live *status.Live) agent.StoreOptions {
	o := s.lookOptions()
	o.Looks = c.HTTP.Listen != ""
	if s.cli.String("from") != "" { // cluster has that one alone
		if whole, err := c.Select(cluster.Name); err == nil {
			o.Home = whole.Repo.URL
		}
	} else if live != nil {
		o.Counted = live.PutsAMonth
	}
	return o
}

// printCost prints what the repositories cost, and what the upload intervals would.
func (s *session) printCost(r status.Report) {
	b := r.Cost
	s.printf("%s   USD a month, %s\n\n", s.paint(r.Cluster, "1"), b.Prices)
	places := map[string]string{}
	for _, c := range r.Copies {
		places[c.Name], _ = placeOf(c.Repository)
	}
	if len(r.Copies) == 0 {
		places[config.Primary], _ = placeOf(r.Repository)
	}
	rows := [][]string{{"REPOSITORY", "", "STORAGE", "REQUESTS", "TRANSFER", "A MONTH", "ANOTHER WEEK"}}
	for _, e := range b.Repositories {
		requests := usd(e.RequestsUSD)
		if e.Basis == cost.AtMost && e.RequestsUSD != nil {
			requests = s.atMost() + requests
		}
		rows = append(rows, []string{e.Name, places[e.Name], usd(e.Storage), requests, usd(e.Transfer), usd(e.Month), usd(e.Week)})
	}
	if len(b.Repositories) > 1 {
		rows = append(rows, []string{"together", "", "", "", "", usd(b.Month), usd(b.Week)})
	}
	s.table(rows)
	for _, e := range b.Repositories {
		if e.Unknown != "" {
			s.printf("%s\n", s.paint(fmt.Sprintf("%s: %s", e.Name, e.Unknown), "33"))
		}
		if e.Requests != nil {
			s.printf("%s: %s\n", e.Name, requestsText(e))
		}
	}
	s.printTrade(b.Trade)
	s.printf("\n")
	for _, line := range wrapped(b.NotCounted, plainWidth) {
		s.printf("%s\n", line)
	}
}

// requestsText says what the requests of a repository are.
func requestsText(e cost.Estimate) string {
	n := func(v float64) string { return humanize.Comma(int64(math.Round(v))) }
	words := fmt.Sprintf("%s PUT and LIST, %s GET", n(e.Requests.Puts), n(e.Requests.Gets))
	if e.Basis == cost.Measured {
		words += ", by what the agent put"
	} else {
		words += ", as if the server were busy day and night"
	}
	if e.Quiet != nil {
		words += fmt.Sprintf("; at most %s USD if nothing were written", usd(e.Quiet))
	}
	return words
}

// printTrade prints what upload intervals cost and may lose.
func (s *session) printTrade(choices []cost.Choice) {
	if len(choices) == 0 {
		return
	}
	rows := [][]string{{"UPLOAD EVERY", "LOST WITH THE HOST", "UPLOADS A MONTH", ""}}
	for _, c := range choices {
		mark := ""
		if c.Chosen {
			mark = "in force"
		}
		rows = append(rows, []string{seconds(c.Every), "about " + seconds(c.RPO), s.atMost() + usd(&c.Month), mark})
	}
	s.printf("\n")
	s.table(rows)
}

// seconds prints a length of time as short as it is exact.
func seconds(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) + " s" }

// atMost stands before a figure that is a bound.
func (s *session) atMost() string {
	if s.unicode {
		return "≤ "
	}
	return "<= "
}

// usd prints an amount, cents up to a hundred; one that is not known is -.
func usd(v *float64) string {
	switch {
	case v == nil:
		return "-"
	case *v >= 99.995:
		return humanize.Comma(int64(math.Round(*v)))
	}
	return fmt.Sprintf("%.2f", *v)
}

// printCostLine says what the archive costs, where that is known and is anything.
func (s *session) printCostLine(r status.Report) {
	if !r.Cost.Billed() {
		return
	}
	words := "est. "
	if r.Cost.AtMost {
		words += "at most "
	}
	words += usd(r.Cost.Month) + " USD/month"
	if r.Cost.Week != nil {
		words += s.dot() + "another week of the window " + usd(r.Cost.Week)
	}
	s.row("cost", "%s", words+s.dot()+"pgark repo cost")
}
