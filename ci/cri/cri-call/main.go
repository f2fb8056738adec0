// cri-call calls one method of a container runtime's CRI, in the kubelet's place:
//
//	cri-call SOCKET SERVICE/METHOD REQUEST SECONDS
//
// The request and the answer are JSON. A call that fails, or is not answered in time, prints the
// runtime's message to standard error and exits with 1.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func main() {
	answer, err := call(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(answer)
}

func call(args []string) (string, error) {
	if len(args) != 4 {
		return "", fmt.Errorf("usage: cri-call SOCKET SERVICE/METHOD REQUEST SECONDS")
	}
	seconds, err := strconv.ParseFloat(args[3], 64)
	if err != nil {
		return "", err
	}
	method, err := find(args[1])
	if err != nil {
		return "", err
	}
	request, answer := dynamicpb.NewMessage(method.Input()), dynamicpb.NewMessage(method.Output())
	if err := protojson.Unmarshal([]byte(args[2]), request); err != nil {
		return "", fmt.Errorf("request of %s: %w", args[1], err)
	}
	connection, err := grpc.NewClient("unix://"+args[0], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return "", err
	}
	defer connection.Close()
	limited, cancel := context.WithTimeout(context.Background(), time.Duration(seconds*float64(time.Second)))
	defer cancel()
	path := "/" + string(method.Parent().FullName()) + "/" + string(method.Name())
	if err := connection.Invoke(limited, path, request, answer); err != nil {
		return "", err
	}
	text, err := protojson.Marshal(answer)
	return string(text), err
}

func find(name string) (protoreflect.MethodDescriptor, error) {
	service := cri.File_staging_src_k8s_io_cri_api_pkg_apis_runtime_v1_api_proto.Package()
	full := string(service) + "." + strings.Replace(name, "/", ".", 1)
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(full))
	if err != nil {
		return nil, fmt.Errorf("method %s: %w", full, err)
	}
	method, ok := found.(protoreflect.MethodDescriptor)
	if !ok {
		return nil, fmt.Errorf("%s is no method", full)
	}
	return method, nil
}
