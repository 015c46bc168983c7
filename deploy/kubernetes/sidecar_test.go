// Package kubernetes_test keeps the manifest to what it promises, without a cluster to apply it to.
package kubernetes_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/pgark/pgark/config"
)

type manifest struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   metadata
	Data       map[string]string
	Spec       spec
}

type metadata struct {
	Name        string
	Labels      map[string]string
	Annotations map[string]string
}

// spec is that of a Service or of a StatefulSet.
type spec struct {
	ClusterIP string `yaml:"clusterIP"`
	Ports     []struct {
		Name string
		Port int
	}
	ServiceName string `yaml:"serviceName"`
	Replicas    int
	Selector    map[string]any
	Template    struct {
		Metadata metadata
		Spec     pod
	}
	Claims []struct {
		Metadata metadata
		Spec     struct {
			AccessModes []string `yaml:"accessModes"`
			Resources   resources
		}
	} `yaml:"volumeClaimTemplates"`
}

type pod struct {
	ServiceAccountName string `yaml:"serviceAccountName"`
	Grace              int    `yaml:"terminationGracePeriodSeconds"`
	SecurityContext    struct {
		FSGroup int     `yaml:"fsGroup"`
		Seccomp seccomp `yaml:"seccompProfile"`
	} `yaml:"securityContext"`
	InitContainers []container `yaml:"initContainers"`
	Containers     []container
	Volumes        []struct {
		Name      string
		EmptyDir  *struct{}              `yaml:"emptyDir"`
		ConfigMap *struct{ Name string } `yaml:"configMap"`
		Secret    *struct {
			SecretName string `yaml:"secretName"`
		}
	}
}

type seccomp struct{ Type string }

type resources struct{ Requests, Limits map[string]string }

type container struct {
	Name, Image   string
	RestartPolicy string `yaml:"restartPolicy"`
	Env           []struct {
		Name, Value string
		ValueFrom   struct {
			SecretKeyRef struct{ Name, Key string } `yaml:"secretKeyRef"`
		} `yaml:"valueFrom"`
	}
	Ports []struct {
		Name          string
		ContainerPort int `yaml:"containerPort"`
	}
	Liveness        *probe `yaml:"livenessProbe"`
	Readiness       *probe `yaml:"readinessProbe"`
	Startup         *probe `yaml:"startupProbe"`
	Resources       resources
	SecurityContext struct {
		RunAsNonRoot bool  `yaml:"runAsNonRoot"`
		RunAsUser    int   `yaml:"runAsUser"`
		RunAsGroup   int   `yaml:"runAsGroup"`
		Escalation   *bool `yaml:"allowPrivilegeEscalation"`
		ReadOnlyRoot bool  `yaml:"readOnlyRootFilesystem"`
		Capabilities struct{ Drop []string }
		Seccomp      seccomp `yaml:"seccompProfile"`
	} `yaml:"securityContext"`
	VolumeMounts []struct {
		Name      string
		MountPath string `yaml:"mountPath"`
		SubPath   string `yaml:"subPath"`
		ReadOnly  bool   `yaml:"readOnly"`
	} `yaml:"volumeMounts"`
}

type probe struct {
	HTTPGet *struct{ Path, Port string } `yaml:"httpGet"`
	Exec    *struct{ Command []string }

	InitialDelay int `yaml:"initialDelaySeconds"`
	Period       int `yaml:"periodSeconds"`
	Timeout      int `yaml:"timeoutSeconds"`
	Failures     int `yaml:"failureThreshold"`
}

// read returns the documents of sidecar.yaml by their kind. A key that is not one of the types above is a fault: Kubernetes passes over it.
func read(t *testing.T) map[string]manifest {
	t.Helper()
	text, err := os.ReadFile("sidecar.yaml")
	if err != nil {
		t.Fatal(err)
	}
	documents := map[string]manifest{}
	for d := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()); ; {
		var m manifest
		err := d.Decode(&m)
		if errors.Is(err, io.EOF) {
			return documents
		}
		if err != nil {
			t.Fatal(err)
		}
		documents[m.Kind] = m
	}
}

func TestSidecar(t *testing.T) {
	pod := read(t)["StatefulSet"].Spec.Template.Spec
	if len(pod.InitContainers) != 1 {
		t.Fatalf("%d init containers, want the agent", len(pod.InitContainers))
	}
	agent := pod.InitContainers[0]
	// A container that begins before the server and ends after it: what the server hands over when it ends is uploaded.
	if agent.RestartPolicy != "Always" {
		t.Errorf("restartPolicy of the agent is %q: want Always, a native sidecar", agent.RestartPolicy)
	}
	if pod.Grace < 150 {
		t.Errorf("the pod may take %d s to end: too short for the server's end and the last upload", pod.Grace)
	}
	if agent.Liveness == nil || agent.Liveness.HTTPGet == nil || agent.Liveness.HTTPGet.Path != "/healthz" {
		t.Errorf("liveness of the agent: %+v", agent.Liveness)
	}
	if agent.Readiness != nil || agent.Startup != nil {
		t.Error("a probe of the agent decides over the database: neither may S3 or the agent")
	}
	if !agent.SecurityContext.ReadOnlyRoot {
		t.Error("the agent may write to its root")
	}
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		s := c.SecurityContext
		if !s.RunAsNonRoot || s.RunAsUser == 0 || s.Escalation == nil || *s.Escalation || !slices.Equal(s.Capabilities.Drop, []string{"ALL"}) || s.Seccomp.Type != "RuntimeDefault" {
			t.Errorf("%s: %+v", c.Name, s)
		}
		for _, v := range c.Env {
			if v.Name == "PGPASSWORD" && (v.Value != "" || v.ValueFrom.SecretKeyRef.Name == "") {
				t.Errorf("%s: a password stands in the manifest", c.Name)
			}
		}
		if !mounts(c, "socket", "/var/run/postgresql") {
			t.Errorf("%s does not share the socket", c.Name)
		}
	}
}

func mounts(c container, name, path string) bool {
	for _, m := range c.VolumeMounts {
		if m.Name == name && m.MountPath == path {
			return true
		}
	}
	return false
}

// TestVolumes holds that each mount has a volume, and each volume of a ConfigMap that one.
func TestVolumes(t *testing.T) {
	documents := read(t)
	set := documents["StatefulSet"].Spec
	var volumes []string
	for _, v := range set.Template.Spec.Volumes {
		volumes = append(volumes, v.Name)
		if v.ConfigMap != nil && v.ConfigMap.Name != documents["ConfigMap"].Metadata.Name {
			t.Errorf("volume %s: no ConfigMap %s", v.Name, v.ConfigMap.Name)
		}
		if v.Name == "socket" && v.EmptyDir == nil {
			t.Error("the socket is not in an emptyDir")
		}
	}
	for _, c := range set.Claims {
		volumes = append(volumes, c.Metadata.Name)
	}
	for _, c := range slices.Concat(set.Template.Spec.InitContainers, set.Template.Spec.Containers) {
		for _, m := range c.VolumeMounts {
			if !slices.Contains(volumes, m.Name) {
				t.Errorf("%s mounts %s, which is no volume", c.Name, m.Name)
			}
			if _, ok := documents["ConfigMap"].Data[m.SubPath]; m.SubPath != "" && !ok {
				t.Errorf("%s mounts %s of the ConfigMap, which is not there", c.Name, m.SubPath)
			}
		}
	}
}

// TestConfiguration reads the agent's configuration in the manifest as the agent does.
func TestConfiguration(t *testing.T) {
	file := t.TempDir() + "/pgark.yml"
	if err := os.WriteFile(file, []byte(read(t)["ConfigMap"].Data["pgark.yml"]), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Sources{File: file})
	if err != nil {
		t.Fatal(err)
	}
	if c.HTTP.Listen != "0.0.0.0:9868" || len(c.Clusters) != 1 {
		t.Errorf("configured: %+v", c)
	}
}
