//! The kinds of home router, as rule sets of nftables.

use std::fmt;

/// How one side reaches the internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nat {
    /// No router: the host itself has the public address.
    Public,
    /// Endpoint-independent mapping and filtering ("full cone"): one outside port, and anyone may write to it.
    Cone,
    /// Plain Linux masquerading whose WAN input is dropped: endpoint-independent mapping as long as ports do not
    /// clash, filtering by address and port.
    MasqueradeDrop,
    /// The same with WAN input accepted: here an early packet of the peer spoils the mapping.
    MasqueradeAccept,
    /// A new random port for every destination.
    Symmetric,
    /// The next port but one for every destination.
    SymmetricSteps,
    /// A random one of 2,048 ports for every destination.
    SymmetricBlock,
    /// As [`Symmetric`](Self::Symmetric), and forwards a port to whom asks for it (NAT-PMP, RFC 6886).
    SymmetricMapped,
}

impl Nat {
    /// The kinds of the whole matrix.
    pub(crate) const ALL: [Nat; 7] = [
        Nat::Public,
        Nat::Cone,
        Nat::MasqueradeDrop,
        Nat::MasqueradeAccept,
        Nat::SymmetricMapped,
        Nat::SymmetricSteps,
        Nat::Symmetric,
    ];

    /// Whether it gives another port for every destination.
    pub(crate) const fn is_symmetric(self) -> bool {
        matches!(
            self,
            Nat::Symmetric | Nat::SymmetricSteps | Nat::SymmetricBlock | Nat::SymmetricMapped
        )
    }

    /// The rules of a router whose interfaces are `lan` and `wan`; `inside` is the host its ports lead to, `outside`
    /// its public address.
    pub(crate) fn rules(self, inside: &str, outside: &str) -> String {
        let translation = match self {
            Nat::Public => String::new(),
            Nat::Cone => format!(
                "chain pre {{ type nat hook prerouting priority dstnat; iifname wan meta l4proto udp dnat ip to {inside}; }}
                 chain post {{ type nat hook postrouting priority srcnat; oifname wan snat ip to {outside}; }}"
            ),
            Nat::MasqueradeDrop | Nat::MasqueradeAccept => {
                "chain post { type nat hook postrouting priority srcnat; oifname wan masquerade; }".to_owned()
            }
            Nat::Symmetric => "chain post { type nat hook postrouting priority srcnat;
                               oifname wan masquerade random,fully-random; }"
                .to_owned(),
            Nat::SymmetricMapped => "chain pre { type nat hook prerouting priority dstnat; }
                                     chain post { type nat hook postrouting priority srcnat;
                                       oifname wan masquerade random,fully-random; }"
                .to_owned(),
            Nat::SymmetricSteps => {
                // Each new flow is counted, and gets the port of its number.
                let ports: Vec<String> = (0..8192).map(|n| format!("{n} : {}", 30_000 + 2 * n)).collect();
                format!(
                    "chain post {{ type nat hook postrouting priority srcnat; oifname wan meta l4proto udp snat ip to {outside}:numgen inc mod 8192 map {{ {} }};
                       oifname wan masquerade; }}",
                    ports.join(", ")
                )
            }
            Nat::SymmetricBlock => format!(
                "chain post {{ type nat hook postrouting priority srcnat; oifname wan meta l4proto udp snat ip to {outside}:40000-42047 random,fully-random; oifname wan masquerade; }}"
            ),
        };
        let input = match self {
            Nat::MasqueradeDrop
            | Nat::Symmetric
            | Nat::SymmetricSteps
            | Nat::SymmetricBlock
            | Nat::SymmetricMapped => {
                "chain input { type filter hook input priority filter;
                 iifname wan ct state established,related accept; iifname wan drop; }"
            }
            Nat::Public | Nat::Cone | Nat::MasqueradeAccept => "",
        };
        // Every home router refuses to forward what nobody inside asked for, except what it translates itself.
        format!(
            "table ip home {{
               {translation}
               {input}
               chain forward {{ type filter hook forward priority filter;
                 ct state established,related accept; ct status dnat accept; iifname wan drop; }}
             }}"
        )
    }
}

impl fmt::Display for Nat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Nat::Public => "public",
            Nat::Cone => "cone",
            Nat::MasqueradeDrop => "masquerade, WAN input dropped",
            Nat::MasqueradeAccept => "masquerade, WAN input accepted",
            Nat::Symmetric => "symmetric",
            Nat::SymmetricSteps => "symmetric, ports in steps",
            Nat::SymmetricBlock => "symmetric, a block of ports",
            Nat::SymmetricMapped => "symmetric, forwards a port",
        })
    }
}
