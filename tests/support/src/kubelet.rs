//! A kubelet's part, as far as the start of a container goes: program, arguments and the environment with what
//! `envFrom`, `secretKeyRef` and `fieldRef` bring in. Volumes and `$(NAME)` in values are not resolved.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::process::Command;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, PodSpec, Secret};
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject};

use crate::Result;
use crate::cluster::Cluster;
use crate::manifests;

/// How a container would be started now. It has no `Debug`: its environment has values.
pub struct Start {
    /// The program; `None` where the image decides.
    pub program: Option<String>,
    /// What it is given.
    pub arguments: Vec<String>,
    /// The whole of its environment, but for a `PATH`.
    pub environment: BTreeMap<String, OsString>,
}

impl Start {
    /// The command with this environment and nothing else but a `PATH`; `image` is the program of the image.
    pub fn command(&self, image: &Path) -> Command {
        let mut command = Command::new(self.program.as_deref().map_or(image, Path::new));
        command.args(&self.arguments).env_clear();
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin").envs(&self.environment);
        command
    }
}

impl Cluster {
    /// The start of the first container of a Deployment, with the Secrets as they are now.
    ///
    /// # Errors
    /// What a kubelet reports as `CreateContainerConfigError`: a Secret or a key that is not there.
    pub async fn start_of(&self, deployment: &Deployment) -> Result<Start> {
        let namespace = deployment.namespace().ok_or("a Deployment without a namespace")?;
        let pod = pod_spec(deployment)?;
        let container: &Container = pod.containers.first().ok_or("a pod without containers")?;
        let pod = Pod { cluster: self, namespace, name: format!("{}-0", deployment.name_any()), spec: pod };
        let mut argv = container.command.clone().unwrap_or_default().into_iter();
        let program = argv.next();
        let arguments = argv.chain(container.args.clone().unwrap_or_default()).collect();
        Ok(Start { program, arguments, environment: pod.environment(container).await? })
    }

    /// The operator as the chart's Deployment starts it, with a kubeconfig in the place of a mounted token. The caller
    /// adds what differs here, a free port for `VAULTSYNC_LISTEN` and the way to the vaults, and starts it by
    /// `processes.spawn`, so that it ends with the control plane.
    ///
    /// # Errors
    /// The chart renders no Deployment, or one that a kubelet could not start.
    pub async fn operator_command(&self, binary: &Path) -> Result<Command> {
        let deployment = self.rendered().iter().find(|object| manifests::kind(object) == "Deployment");
        let deployment = deployment.ok_or("the chart renders no Deployment")?;
        let start = self.start_of(&typed(deployment)?).await?;
        let mut command = start.command(binary);
        command.env("KUBECONFIG", self.kubeconfig_for_operator().await);
        Ok(command)
    }
}

/// A rendered Deployment as its type.
///
/// # Errors
/// It is none.
pub fn typed(deployment: &DynamicObject) -> Result<Deployment> {
    Ok(serde_json::from_value(serde_json::to_value(deployment)?)?)
}

fn pod_spec(deployment: &Deployment) -> Result<&PodSpec> {
    let spec = deployment.spec.as_ref().ok_or("a Deployment without a spec")?;
    Ok(spec.template.spec.as_ref().ok_or("a Deployment without a pod")?)
}

struct Pod<'a> {
    cluster: &'a Cluster,
    namespace: String,
    name: String,
    spec: &'a PodSpec,
}

impl Pod<'_> {
    async fn environment(&self, container: &Container) -> Result<BTreeMap<String, OsString>> {
        let mut environment = BTreeMap::new();
        for source in container.env_from.iter().flatten() {
            let secret = source.secret_ref.as_ref().ok_or("envFrom of something else than a Secret")?;
            let prefix = source.prefix.as_deref().unwrap_or_default();
            let Some(secret) = self.secret(&secret.name, secret.optional).await? else { continue };
            for (key, value) in secret.data.into_iter().flatten() {
                environment.insert(format!("{prefix}{key}"), OsString::from_vec(value.0));
            }
        }
        for variable in container.env.iter().flatten() {
            if let Some(value) = self.value(variable).await? {
                environment.insert(variable.name.clone(), value);
            }
        }
        Ok(environment)
    }

    async fn value(&self, variable: &EnvVar) -> Result<Option<OsString>> {
        let Some(source) = &variable.value_from else {
            return Ok(Some(variable.value.clone().unwrap_or_default().into()));
        };
        match source {
            EnvVarSource { secret_key_ref: Some(of), .. } => {
                let secret = self.secret(&of.name, of.optional).await?;
                let value = secret.and_then(|secret| secret.data?.remove(&of.key));
                if value.is_none() && of.optional != Some(true) {
                    return Err(format!(
                        "couldn't find key {} in Secret {}/{}",
                        of.key, self.namespace, of.name
                    )
                    .into());
                }
                Ok(value.map(|value| OsString::from_vec(value.0)))
            }
            EnvVarSource { field_ref: Some(field), .. } => match field.field_path.as_str() {
                "metadata.name" => Ok(Some(self.name.clone().into())),
                "metadata.namespace" => Ok(Some(self.namespace.clone().into())),
                "spec.serviceAccountName" => Ok(self.spec.service_account_name.clone().map(Into::into)),
                other => Err(format!("fieldRef {other} is not played here").into()),
            },
            _ => Err(format!("{} comes from something that is not played here", variable.name).into()),
        }
    }

    async fn secret(&self, name: &str, optional: Option<bool>) -> Result<Option<Secret>> {
        let secrets: Api<Secret> = Api::namespaced(self.cluster.admin(), &self.namespace);
        match secrets.get_opt(name).await? {
            None if optional != Some(true) => Err(format!("secret \"{name}\" not found").into()),
            found => Ok(found),
        }
    }
}
