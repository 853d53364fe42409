//! `SecretStore` and `ClusterSecretStore`, as far as they are of Azure Key Vault.

use super::super::fields::Fields;
use super::super::words::{ANY_ID, Heading, id, is_id, workload_identity};
use crate::api::{
    ClusterIdentity, ClusterKeyVault, ClusterKeyVaultSpec, KeyVault, KeyVaultIdentity, KeyVaultSpec,
    ManagedIdentity, OperatorIdentitySpec, ReadSettings, ServicePrincipal,
};

/// The connection of a namespace; none, with a note, where it reads no Key Vault or not as a ServiceAccount.
pub(in crate::convert) fn secret_store(heading: &Heading, spec: &mut Fields<'_>) -> Option<KeyVault> {
    let mut vault = azure(spec)?;
    let url = url_of(&mut vault)?;
    let auth = vault.text("authType").unwrap_or_else(|| "ServicePrincipal".to_owned());
    let account = vault.fields("serviceAccountRef");
    let (true, Some(mut account)) = (auth == "WorkloadIdentity", account) else {
        let who = if auth == "WorkloadIdentity" {
            "External Secrets Operator's own identity".to_owned()
        } else {
            auth
        };
        vault.note("authType", format!("reads as {who}, and a KeyVault reads as a ServiceAccount of its namespace alone, so the store was not converted. Federate a ServiceAccount and write a KeyVault of this name (docs/migration/external-secrets.md), or have the platform's team write a ClusterKeyVault, and name it in spec.vaultRef."));
        vault.leave();
        return None;
    };
    let name = account.text("name").unwrap_or_default();
    if account.text("namespace").is_some_and(|namespace| heading.namespace.as_ref() != Some(&namespace)) {
        account.note(
            "namespace",
            "is another one: a KeyVault takes a ServiceAccount of its own namespace alone.",
        );
    }
    not_audiences(&mut account);
    vault.note("serviceAccountRef", format!("reads the client id from ServiceAccount {name}: write the value of its annotation azure.workload.identity/client-id to spec.identity.workloadIdentity.clientId, which is {ANY_ID} for now."));
    let identity = workload_identity(&name, None, id(&mut vault, "tenantId"));
    let spec = KeyVaultSpec {
        url,
        identity: KeyVaultIdentity { workload_identity: Some(identity) },
        settings: ReadSettings::default(),
    };
    let mut object = KeyVault::new(&heading.name, spec);
    object.metadata = heading.metadata(&heading.name);
    Some(object)
}

/// The connection of the platform's; what it allows follows from the objects that are converted with it.
pub(in crate::convert) fn cluster_secret_store(
    heading: &Heading,
    spec: &mut Fields<'_>,
) -> Option<ClusterKeyVault> {
    let conditions = spec.items("conditions");
    let restricted = !conditions.is_empty();
    for mut condition in conditions {
        condition.leave();
    }
    let mut vault = azure(spec)?;
    let url = url_of(&mut vault)?;
    let identity = cluster_identity(heading, &mut vault);
    let allows = if restricted {
        "says which namespaces may use the store"
    } else {
        "is absent, so every namespace may use the store"
    };
    spec.note("conditions", format!("{allows}; spec.allow of a ClusterKeyVault names each namespace and what it may read. What the objects of this input read is allowed, and nothing else: look through it."));
    let spec = ClusterKeyVaultSpec {
        url,
        identity,
        cloud: None,
        settings: ReadSettings::default(),
        allow: Vec::new(),
    };
    let mut object = ClusterKeyVault::new(&heading.name, spec);
    object.metadata = heading.metadata(&heading.name);
    object.metadata.namespace = None;
    Some(object)
}

/// The fields of the provider, if it is Key Vault.
fn azure<'a>(spec: &mut Fields<'a>) -> Option<Fields<'a>> {
    let mut provider = spec.fields("provider")?;
    let vault = provider.fields("azurekv");
    if vault.is_none() {
        provider.note_all(
            "is not Azure Key Vault (azurekv), which is all that vaultsync reads, so the store was left out.",
        );
        provider.leave();
        spec.leave();
    }
    // What these are for, the product does by itself: who serves an object, and how often a vault is asked again.
    let said = [
        ("controller", "Which operator serves an object is not said in it (chart: watchNamespaces)."),
        ("retrySettings", "A vault that fails is asked again at a pace that vaultsync finds."),
        ("refreshInterval", "A connection is checked by use."),
    ];
    for (field, word) in said {
        if spec.has(field) {
            spec.note(field, format!("has no equal, so it was left out. {word}"));
            spec.skip(field);
        }
    }
    vault
}

/// The URL of the vault, without a slash at its end.
fn url_of(vault: &mut Fields<'_>) -> Option<String> {
    let url = vault.text("vaultUrl");
    if url.is_none() {
        vault.note("vaultUrl", "is missing, so the store was left out.");
        vault.leave();
    }
    if let Some(cloud @ ("GermanCloud" | "AzureStackCloud")) = vault.text("environmentType").as_deref() {
        vault.note("environmentType", format!("{cloud} is none of the clouds that vaultsync knows by the URL: only a ClusterKeyVault reads there, with spec.cloud (authority and audience)."));
    }
    // The library that External Secrets Operator is to use says nothing of the vault.
    vault.flag("useAzureSDK");
    Some(url?.trim_end_matches('/').to_owned())
}

fn not_audiences(account: &mut Fields<'_>) {
    if !account.texts("audiences").is_empty() {
        account.note("audiences", "is not set here: the audience is that of the vault's cloud. Another one is allowed by the chart (tokenRequests.extraAudiences).");
    }
}

fn cluster_identity(heading: &Heading, vault: &mut Fields<'_>) -> ClusterIdentity {
    let auth = vault.text("authType");
    let tenant = id(vault, "tenantId");
    match auth.as_deref() {
        Some("WorkloadIdentity") => {
            if let Some(mut account) = vault.fields("serviceAccountRef") {
                let name = account.text("name").unwrap_or_default();
                let namespace = account.text("namespace").unwrap_or_default();
                not_audiences(&mut account);
                vault.note("serviceAccountRef", format!("is ServiceAccount {name} of namespace {namespace} for everybody; here each namespace reads as its own ServiceAccount {name}, which the identity must trust. Write the client id, which is {ANY_ID} for now; or use operatorIdentity, one identity for all."));
                let identity = workload_identity(&name, None, tenant);
                ClusterIdentity { workload_identity: Some(identity), ..ClusterIdentity::default() }
            } else {
                vault.note("authType", "reads as the identity of External Secrets Operator's pod and became operatorIdentity: federate vaultsync's own ServiceAccount (chart: azure.workloadIdentity) and give that identity the same role.");
                let operator = Some(OperatorIdentitySpec {});
                ClusterIdentity { operator_identity: operator, ..ClusterIdentity::default() }
            }
        }
        Some("ManagedIdentity") => {
            let name = vault.text("identityId");
            let (clients, others): (Vec<String>, Vec<String>) = name.into_iter().partition(|id| is_id(id));
            let resource_id = others.into_iter().next();
            let managed =
                ManagedIdentity { client_id: clients.into_iter().next(), object_id: None, resource_id };
            ClusterIdentity { managed_identity: Some(managed), ..ClusterIdentity::default() }
        }
        _ => {
            vault.skip("authSecretRef");
            vault.note("authSecretRef", format!("is a Secret that vaultsync does not read. Put the client secret or certificate under the key {0} into the Secret that the chart mounts (credentials.secret), and write the client id, which is {ANY_ID} for now.", heading.name));
            let principal = ServicePrincipal {
                tenant_id: tenant.unwrap_or_else(|| ANY_ID.to_owned()),
                client_id: ANY_ID.to_owned(),
                credential_file: heading.name.clone(),
            };
            ClusterIdentity { service_principal: Some(principal), ..ClusterIdentity::default() }
        }
    }
}
