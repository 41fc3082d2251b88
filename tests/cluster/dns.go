package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"

	"github.com/miekg/dns"
	"github.com/spf13/cobra"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// services is the zone below which a Service has the name <service>.<namespace>.
	services = ".svc.cluster.local."
	// ttl is how many seconds an answer may be kept, as in CoreDNS's plugin kubernetes.
	ttl = 5
)

// newDNSCommand makes the cluster's DNS server: it answers for Services, and knows no other names.
func newDNSCommand() *cobra.Command {
	var kubeconfig, listen string
	command := &cobra.Command{
		Use:          "cluster-dns",
		Short:        "Answers A questions about Services",
		SilenceUsage: true,
		RunE: func(command *cobra.Command, _ []string) error {
			return serveDNS(command.Context(), kubeconfig, listen)
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "file with the apiserver's address and credentials")
	command.Flags().StringVar(&listen, "listen", "127.0.0.1:53", "address and port, for UDP and TCP")
	return command
}

// serveDNS answers from the start, with SERVFAIL until the Services are known, and ends only with an error.
func serveDNS(ctx context.Context, kubeconfig, listen string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("kubeconfig %s: %w", kubeconfig, err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	zone := newZone(factory)
	factory.Start(ctx.Done())
	go func() {
		factory.WaitForCacheSync(ctx.Done())
		zone.ready.Store(true)
	}()
	ended := make(chan error, 2)
	for _, network := range []string{"udp", "tcp"} {
		server := &dns.Server{Addr: listen, Net: network, Handler: zone}
		go func() { ended <- server.ListenAndServe() }()
	}
	return <-ended
}

// zone holds what is known of the cluster. Its listers read a local copy that watches keep up to date.
type zone struct {
	services corelisters.ServiceLister
	slices   discoverylisters.EndpointSliceLister
	ready    atomic.Bool
}

func newZone(factory informers.SharedInformerFactory) *zone {
	return &zone{
		services: factory.Core().V1().Services().Lister(),
		slices:   factory.Discovery().V1().EndpointSlices().Lister(),
	}
}

// ServeDNS answers one message with one question.
func (z *zone) ServeDNS(writer dns.ResponseWriter, question *dns.Msg) {
	answer := new(dns.Msg)
	answer.SetReply(question)
	answer.Authoritative = true
	switch {
	case len(question.Question) != 1:
		answer.Rcode = dns.RcodeFormatError
	case !z.ready.Load():
		answer.Rcode = dns.RcodeServerFailure
	default:
		z.fill(answer, question.Question[0])
	}
	// A client that has gone asks again if it still wants to know.
	_ = writer.WriteMsg(answer)
}

func (z *zone) fill(answer *dns.Msg, question dns.Question) {
	addresses, known := z.lookup(question.Name)
	if !known {
		answer.Rcode = dns.RcodeNameError
		return
	}
	// A name that is known but has no record of the kind asked for is an empty answer, not an unknown name (RFC 2308).
	if question.Qtype != dns.TypeA || question.Qclass != dns.ClassINET {
		return
	}
	header := dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: ttl}
	for _, address := range addresses {
		if ip := net.ParseIP(address).To4(); ip != nil {
			answer.Answer = append(answer.Answer, &dns.A{Hdr: header, A: ip})
		}
	}
}

// lookup finds the addresses of [<pod>.]<service>.<namespace>.svc.cluster.local.
func (z *zone) lookup(name string) (addresses []string, known bool) {
	path, within := strings.CutSuffix(strings.ToLower(name), services)
	if !within {
		return nil, false
	}
	parts := strings.Split(path, ".")
	host := ""
	if len(parts) == 3 {
		host, parts = parts[0], parts[1:]
	}
	if len(parts) != 2 {
		return nil, false
	}
	service, err := z.services.Services(parts[1]).Get(parts[0])
	if err != nil {
		return nil, false
	}
	if service.Spec.ClusterIP != core.ClusterIPNone {
		return service.Spec.ClusterIPs, host == ""
	}
	addresses = z.endpoints(service, host)
	return addresses, host == "" || len(addresses) > 0
}

// endpoints are the ready addresses behind a headless Service, or those of one named pod.
func (z *zone) endpoints(service *core.Service, host string) (addresses []string) {
	chosen := labels.SelectorFromSet(labels.Set{discovery.LabelServiceName: service.Name})
	// A lister fails only when an object has no metadata.
	slices, _ := z.slices.EndpointSlices(service.Namespace).List(chosen)
	for _, slice := range slices {
		for _, endpoint := range slice.Endpoints {
			ready := endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready || service.Spec.PublishNotReadyAddresses
			named := host == "" || (endpoint.Hostname != nil && *endpoint.Hostname == host)
			if ready && named {
				addresses = append(addresses, endpoint.Addresses...)
			}
		}
	}
	return addresses
}

