//! Tests that need network namespaces: one program, one module a subject. All of them run as root.

#[cfg(test)]
mod testkit_observes;
