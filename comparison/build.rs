//! Describes the gRPC service here, so that `protoc` is not needed.

use tonic_build::manual::{Builder, Method, Service};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let stream = Method::builder()
        .name("work")
        .route_name("Work")
        .input_type("crate::peers::grpc::Job")
        .output_type("crate::peers::grpc::Done")
        .codec_path("tonic_prost::ProstCodec")
        .client_streaming()
        .server_streaming()
        .build();
    let service = Service::builder().name("Pipeline").package("comparison").method(stream).build();
    Builder::new().compile(&[service]);
}
